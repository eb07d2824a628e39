"""What the frozen vision tower said of an image, kept in memory or on disk."""
