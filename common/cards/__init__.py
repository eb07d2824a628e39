"""What a checkpoint says of itself to people: a model card with the Hub's header, from manifests and result files."""
