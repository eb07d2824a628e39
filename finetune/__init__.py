"""Unlearning: mined captions -> spans -> steps -> a trained model."""
