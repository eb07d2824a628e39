"""Pure functions from records to counts, and from counts to scores with intervals."""
