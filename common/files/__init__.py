"""Reading and writing: records, images, annotations, vocabularies; what is on disk stays whole."""
