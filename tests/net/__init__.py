"""A repository on a web server, and a store that upgrades from it: real processes on loopback."""
