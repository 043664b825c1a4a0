"""Tests that need a real filesystem of their own."""
