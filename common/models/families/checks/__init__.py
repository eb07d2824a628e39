"""Whether a model of transformers, its processor and its family can do what is asked of them, tried before the work."""
