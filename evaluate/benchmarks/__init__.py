"""Questions and answers: reading their files, asking a model, handing both to the metrics."""
