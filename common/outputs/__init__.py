"""The life of an output: its place, its lock, whose it is, what it belongs to, and when it is complete."""
