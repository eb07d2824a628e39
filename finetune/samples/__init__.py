"""Mined captions with what the scorer did not find cut out of them: more to learn (the spans: common/samples)."""
