"""Tests of the model adapters on tiny random checkpoints in the published layouts."""
