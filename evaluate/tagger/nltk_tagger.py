"""Which tagger decides word classes: the bundled one, or NLTK's own, exactly as in CHAIR's field code.

NLTK's needs data that no package carries and that nothing here downloads; whoever has installed them can ask for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any, Literal

from common.errors import MissingDependencyError
from evaluate.tagger.tagger import TagSource, bundled_tagger

PosTagger = Literal["bundled", "nltk"]
POS_TAGGERS: tuple[PosTagger, ...] = ("bundled", "nltk")
DATA = "averaged_perceptron_tagger_eng"


class NltkTagger:
    """NLTK's averaged perceptron with the data that are installed. Raises MissingDependencyError if none are."""

    def __init__(self) -> None:
        from nltk.tag import PerceptronTagger

        try:
            self._tagger: Any = PerceptronTagger()
        except LookupError:
            raise MissingDependencyError(
                f"--pos_tagger nltk: the data of NLTK's tagger are not installed; run: python -m nltk.downloader {DATA}"
            ) from None

    def tags(self, tokens: Sequence[str]) -> list[str]:
        """The tag of each token."""
        return [tag for _, tag in self._tagger.tag(list(tokens))]


@cache
def nltk_tagger() -> NltkTagger:
    """NLTK's tagger, read once."""
    return NltkTagger()


def tagger_of(name: PosTagger) -> TagSource:
    """The tagger of a name. Raises MissingDependencyError where its data are not installed."""
    return nltk_tagger() if name == "nltk" else bundled_tagger()
