"""Mined captions with scored objects -> the sub-sentences to raise and to lower, and the sentences to keep."""
