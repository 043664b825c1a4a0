"""Having of a new version in the running system what needs no reboot (spec/65-live.md)."""
