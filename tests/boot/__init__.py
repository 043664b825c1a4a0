"""What boots: the machine, its three forms, and what is done to it."""
