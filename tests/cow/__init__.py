"""The guard, on a real FUSE mount."""
