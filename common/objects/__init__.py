"""Concrete things that a caption names, with their places in the text."""
