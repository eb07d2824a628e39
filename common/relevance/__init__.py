"""How well an image supports a name: windows of it against the name, by a contrastive model."""
