"""The pipeline's inside: its file, which script runs with which flags, what is out of date, running it."""
