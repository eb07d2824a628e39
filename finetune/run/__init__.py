"""The loop of a run: transformers' Trainer over packs, its folder, its checkpoints, its logs."""
