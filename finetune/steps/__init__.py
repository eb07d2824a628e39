"""Which captions make up a step, what each span weighs, and how they share a forward pass."""
