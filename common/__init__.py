"""Shared ground of all scripts."""
