"""What can be checked of the image without a container engine."""
