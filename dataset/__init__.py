"""What data there is: the layout of known sets, word lists, and the built-in mini world."""
