"""Looking at what a model says: captions, the objects in them, and how well the picture supports each."""
