"""The bench: ratios against the tools that a user would pick instead (``make bench``).

Every figure is measured on a fresh ext4 of its own in an image file, for both
sides in turn, and given as a ratio; what does not depend on the machine (blocks
written, system calls, memory) is counted besides. Targets are reported, never
enforced: a machine that is busy with something else must not turn the tests red.
"""
