"""rootman: complete versions of an operating system as plain directories, switched atomically."""

VERSION = "0.1.0"
