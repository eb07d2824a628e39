"""Reading tensors one by one, from files of any layout, into modules that have no memory yet."""
