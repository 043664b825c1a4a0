"""Tests of trust: a real repository that is signed, real stores, and every way to lie to them."""
