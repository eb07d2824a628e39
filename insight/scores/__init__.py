"""How well a picture supports each named object, and where scores are cut."""
