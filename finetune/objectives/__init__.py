"""What is minimised: losses of spans, their weights by preset, and how these change over a run."""
