"""Words that a noun phrase of a caption begins with."""

from __future__ import annotations

SINGULAR = ("a", "an", "one", "another", "each", "every")
PLURAL = ("two", "three", "four", "five", "six", "several", "some", "many", "few", "multiple", "various", "numerous")
DETERMINERS = (*SINGULAR, *PLURAL, "the", "its", "their", "his", "her")
