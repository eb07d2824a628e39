"""A page about mined data before training: counts that follow the thresholds, captions and what becomes of them."""
