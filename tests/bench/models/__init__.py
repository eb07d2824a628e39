"""Models of real shapes with random weights, for what is measured without a download."""
