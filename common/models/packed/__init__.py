"""Captions of several images in one sequence, each token once, with the losses of one row a caption."""
