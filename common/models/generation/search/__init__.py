"""How the next token is chosen: greedy, drawn at random, or by beams; state that is changed in place."""
