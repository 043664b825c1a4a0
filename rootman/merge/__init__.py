"""Local changes of configuration, carried into a new tree (spec/60-config.md)."""
