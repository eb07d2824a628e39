"""Packs through the decoder of a model that transformers loads itself, by that decoder's own layers."""
