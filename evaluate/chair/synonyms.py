"""The word lists of CHAIR: which words name which of the 80 COCO objects, and which word pairs count as one word.

Two definitions. `standard` is the field's: list of LisaAnne/Hallucination with its quirks (two entries begin with a
space and one holds a capital, so they never match), and a fixed table of pairs. `paper` is EFUF's: the refined list,
entries stripped, and every two-word synonym as a pair. Both share the rules for young animals and for vehicles.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from common.errors import DataError
from common.files.storage import read_text
from common.paths import DATASET, display

ChairMode = Literal["standard", "paper"]
MODES: tuple[ChairMode, ...] = ("standard", "paper")
BUNDLED: Mapping[ChairMode, Path] = {
    "standard": DATASET / "synonyms.txt",
    "paper": DATASET / "synonyms_refined.txt",
}

_FIXED = (
    "motor bike, motor cycle, air plane, traffic light, street light, traffic signal, stop light, fire hydrant, "
    "stop sign, parking meter, suit case, sports ball, baseball bat, baseball glove, tennis racket, wine glass, "
    "hot dog, cell phone, mobile phone, teddy bear, hair drier, potted plant, bow tie, laptop computer"
)
FIXED_PAIRS = tuple(_FIXED.split(", "))
VANISHING_PAIRS = ("home plate", "train track")  # in no list, so merging them hides "plate" and "train"
ANIMALS = ["bird", "cat", "dog", "horse", "sheep", "cow", "elephant", "bear", "zebra", "giraffe", "animal", "cub"]
VEHICLES = ("jet", "train")


@dataclass(frozen=True)
class WordLists:
    """What a CHAIR parser needs to know.

    Attributes:
        mode: whose definition.
        nodes: word -> COCO object.
        pairs: two words joined by a space -> the word that stands for them.
    """

    mode: ChairMode
    nodes: Mapping[str, str]
    pairs: Mapping[str, str]


def merge_table(pairs: Iterable[str]) -> dict[str, str]:
    """The table of two-word windows: pairs stand for themselves, "baby dog" for "dog", "bow tie" for "tie"."""
    table = {pair: pair for pair in (*pairs, *VANISHING_PAIRS)}
    for animal in ANIMALS:
        table[f"baby {animal}"] = animal
        table[f"adult {animal}"] = animal
    for vehicle in VEHICLES:
        table[f"passenger {vehicle}"] = vehicle
    return table | {"bow tie": "tie", "toilet seat": "toilet", "wine glas": "wine glass"}


def parse_synonyms(text: str, where: str, strip: bool) -> dict[str, str]:
    """Word -> object from lines `object, synonym, synonym`; later lines win. Raises DataError if there is none.

    `strip` removes stray spaces around entries, which the standard definition keeps.
    """
    nodes: dict[str, str] = {}
    for line in text.split("\n"):
        words = line.strip().split(", ")
        if words == [""]:
            continue
        for word in words:
            nodes[word.strip() if strip else word] = words[0]
    if not nodes:
        raise DataError(f"{where} holds no synonyms; expected lines 'object, synonym, synonym'")
    return nodes


def load_word_lists(mode: ChairMode, synonyms_path: Path | str | None = None) -> WordLists:
    """The lists of a mode, with the bundled synonyms or those of a file. Raises DataError."""
    path = Path(synonyms_path) if synonyms_path else BUNDLED[mode]
    nodes = parse_synonyms(read_text(path), display(path), strip=mode == "paper")
    pairs = FIXED_PAIRS if mode == "standard" else [word for word in nodes if " " in word]
    return WordLists(mode, nodes, merge_table(pairs))
