"""Answers of other tools: what their columns mean, and which question each belongs to."""
