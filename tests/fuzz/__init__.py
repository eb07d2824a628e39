"""Malformed input for every reader: seeded mutations of valid files."""
