"""Token ids of a text input and of a caption."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class PromptIds:
    """A text input cut at the image: token ids before it (beginning-of-text id included) and after it."""

    before: tuple[int, ...]
    after: tuple[int, ...]

    def length(self, image_tokens: int) -> int:
        """Positions that the prompt takes, image included."""
        return len(self.before) + image_tokens + len(self.after)


@dataclass(frozen=True)
class CaptionIds:
    """A caption tokenised once, without end symbol.

    `offsets[i]` = (start, end) characters of token i in the caption; end exclusive.
    """

    ids: tuple[int, ...]
    offsets: tuple[tuple[int, int], ...]
