"""How the bundled tagger was trained and checked."""
