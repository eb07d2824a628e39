"""What the bench of growth is made of: inputs of any size, the steps that read them, what a run costs."""
