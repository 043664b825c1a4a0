"""The tests, laid out by what they need: no disk (unit), a filesystem (fs), a mount (cow), ..."""
