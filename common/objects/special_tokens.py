"""Special tokens that a tokenizer left in a caption (`</s>`, `<|im_end|>`, `[INST]`): no part of any object."""

from __future__ import annotations

import re

SPECIAL = re.compile(
    r"<{1,2}/?(?:[|｜][^<>\s]{1,40}[|｜]|[A-Za-z0-9][\w./-]{0,40})>{1,2}"
    r"|\[/?(?:INST|PAD|UNK|CLS|SEP|MASK|BOS|EOS|IMG)\]"
)


def blanked(caption: str, blank: str = " ") -> str:
    """The caption with every character of a special token replaced, so that offsets stay.

    Args:
        blank: one character; what is looked up word by word wants one that is no space.
    """
    return SPECIAL.sub(lambda found: blank * len(found.group()), caption)
