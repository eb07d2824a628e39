"""What is done with loaded weights: which are trained, in which precision, and how they are saved."""
