"""What the training bench is made of: what it trains on, a step and its parts, the table."""
