"""Tests that need no disk."""
