"""Packs: one download that turns a version into another (spec/37-packs.md)."""
