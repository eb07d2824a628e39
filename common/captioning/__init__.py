"""A model describes a list of images: the loop, and the script around it that training and evaluation share."""
