"""What decides which tree boots: the boot state, the choice, and what loaders are given."""
