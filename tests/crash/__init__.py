"""Every disk that a power cut can leave, from real filesystems, mounted and looked at."""
