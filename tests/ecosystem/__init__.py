"""Exports in the hands of other tools, each in an environment of its own; `make ecosystem`, not part of the tests."""
