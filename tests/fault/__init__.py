"""Every call through the door to the disk made to fail, and what came of it."""
