"""Make `dataset/nouns/abstract.txt`: the nouns whose most frequent sense in WordNet cannot be seen.

    python -m dataset.abstract_nouns --wordnet_path /usr/share/wordnet

`--wordnet_path` is the folder with `index.noun` and `data.noun` of WordNet 3.0 (Debian: wordnet-base). The list is
bundled, so nobody needs WordNet to extract objects; the script is kept so that the list can be made again.
"""

from __future__ import annotations

import sys

if __name__ == "__main__" and not __package__:
    sys.path[0] += "/.."  # run as a file: this checkout goes before whatever is installed

if __name__ == "__main__":
    import common.interrupts  # noqa: F401

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from common.args import flag, parse
from common.cli import run
from common.errors import DataError
from common.files.storage import read_text, require_dir, write_text
from common.outputs.targets import check_targets
from common.outputs.whole import WholeTarget, taken
from common.paths import DATASET, display

# Lexicographer files of WordNet (see lexnames(5WN)) whose nouns can be seen.
VISIBLE_FILES = {5: "animal", 6: "artifact", 8: "body", 13: "food", 17: "object", 18: "person", 20: "plant"}
VISIBLE_FILES[27] = "substance"
LIST = DATASET / "nouns" / "abstract.txt"
MARK = "# Made by dataset/abstract_nouns.py"
HEADER = """\
# Nouns whose most frequent sense cannot be seen: the first sense lies in none of WordNet's lexicographer files
# {files}. Single words that are no names.
{mark} from WordNet 3.0 (licence: WORDNET_LICENSE); exceptions are in visible.txt.
"""


@dataclass
class AbstractNounArguments:
    """Where WordNet lies and where the list goes."""

    wordnet_path: str = flag("/usr/share/wordnet", "folder with index.noun and data.noun of WordNet 3.0")
    abstract_nouns_path: str = flag(str(LIST), "where the list is written")


def _entries(path: Path) -> Iterator[list[str]]:
    """Fields of each line; the licence at the top is indented and passed over."""
    for line in read_text(path).splitlines():
        if line and not line.startswith(" "):
            yield line.split()


def abstract_nouns(wordnet: Path) -> list[str]:
    """The words of the list, sorted. Raises DataError if the files are not WordNet's."""
    try:
        synsets = {fields[0]: fields for fields in _entries(wordnet / "data.noun")}
        return sorted(_abstract(wordnet / "index.noun", synsets))
    except (ValueError, KeyError, IndexError) as error:
        raise DataError(f"{display(wordnet)} (from --wordnet_path) is not in WordNet's format ({error})") from None


def _abstract(index: Path, synsets: dict[str, list[str]]) -> Iterator[str]:
    """See wndb(5WN). A line of the index is: word, ..., number of senses at 2, ..., their offsets by falling frequency.

    A synset is: offset, lexicographer file, type, ..., its words as they are written (a name with a capital).
    """
    for fields in _entries(index):
        word, senses = fields[0], int(fields[2])
        synset = synsets[fields[-senses]]
        if word.isalpha() and len(word) > 2 and word in synset and int(synset[1]) not in VISIBLE_FILES:
            yield word


def recognise(path: Path) -> None:
    """Raise DataError unless a file is such a list."""
    if MARK not in read_text(path):
        raise DataError("no list of abstract nouns")


def main(argv: Sequence[str] | None = None) -> None:
    """Write the list. Raises DataError for a file that is none, or what is not WordNet's."""
    (args,) = parse([AbstractNounArguments], __doc__ or "", argv)
    path = Path(args.abstract_nouns_path)
    check_targets({"abstract_nouns_path": path})
    with taken([WholeTarget(path, "abstract_nouns_path", "dataset.abstract_nouns", recognise)]):
        words = abstract_nouns(require_dir(args.wordnet_path, "--wordnet_path"))
        header = HEADER.format(files=", ".join(VISIBLE_FILES.values()), mark=MARK)
        write_text(path, header + "\n".join(words) + "\n")
    print(f"{len(words)} nouns in {display(args.abstract_nouns_path)}")


if __name__ == "__main__":
    run(main)
