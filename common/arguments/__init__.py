"""Flags: groups of them, and one path from the command line or a YAML file to checked values."""
