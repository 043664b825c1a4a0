"""The copy-on-write guard: the FUSE mount through which a tree is used."""
