"""Judging: captions and answers -> scores that follow the field's own definitions."""
