"""The files of the sets -> captions with spans -> tokens with spans."""
