"""Words of a text as CHAIR's original code sees them: sentences, then Penn Treebank tokens (NLTK's rules)."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

SENTENCE_END = re.compile(r"""(?<=[.!?])(["')\]}’”]*)\s+""")


@cache
def _tokenizer() -> Any:
    from nltk.tokenize.destructive import NLTKWordTokenizer

    return NLTKWordTokenizer()


def sentences(text: str) -> list[str]:
    """The text cut after `.`, `!` or `?` before white space; closing quotes and brackets stay with their sentence.

    The trained sentence splitter of NLTK differs only after abbreviations, where no object word stands.
    """
    return [part for part in SENTENCE_END.sub(r"\1\n\n\n", text).split("\n\n\n") if part]


def words(text: str) -> list[str]:
    """Lower-case Treebank tokens; a full stop is split off only at the end of a sentence."""
    tokenize = _tokenizer().tokenize
    return [token for sentence in sentences(text.lower()) for token in tokenize(sentence)]
