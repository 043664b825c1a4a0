"""The command line: parse, call the core, render; nothing is decided here."""
