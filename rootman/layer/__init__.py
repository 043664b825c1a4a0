"""Packages that each new tree gets besides what its release has."""
