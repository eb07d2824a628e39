"""Captions with scored objects -> sub-sentences with scores: the rule of what is lowered, raised and left out."""
