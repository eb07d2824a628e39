"""Trees of tokens: keys and values of a trunk once, its branches behind it, as many trees at a time as fit."""
