"""Lists of whole numbers on the command lines of benchmarks."""

from __future__ import annotations

from common.errors import ArgumentError

MOST = 2**32 - 1  # what a seed may be


def whole_numbers(text: str, flag: str, least: int = 0) -> list[int]:
    """Those of `1,5,12`. Raises ArgumentError, naming the flag: none, one that is none or too small, one twice."""
    words = [word.strip() for word in text.split(",")]
    for word in words:
        if not word.isascii() or not word.isdigit() or len(word) > 10 or not least <= int(word) <= MOST:
            raise ArgumentError(f"{flag}: {word[:40]!r} is no whole number from {least} to {MOST}; give them as 31,32")
    numbers = [int(word) for word in words]
    if len(set(numbers)) < len(numbers):
        raise ArgumentError(f"{flag} {text[:80]} names a number twice; each is run once")
    return numbers
