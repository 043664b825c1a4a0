"""Tests of the source itself: what depends on what, and which claim no test proves."""
