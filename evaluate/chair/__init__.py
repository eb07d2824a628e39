"""CHAIR: objects named in captions against objects in the picture."""
