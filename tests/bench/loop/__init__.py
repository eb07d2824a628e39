"""What the loop's bench is made of: a step each."""
