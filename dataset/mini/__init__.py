"""The mini world: a complete case of the method, drawn from a seed, with models small enough for two CPU cores."""
