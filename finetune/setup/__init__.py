"""From flags to a trainer: arguments, inputs, what a run trains on, how a step is computed."""
