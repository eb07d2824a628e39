"""What can be seen and what cannot, by the bundled word lists; and how the large one is made."""

from __future__ import annotations

from pathlib import Path

import pytest

from common.errors import DataError
from common.files.storage import read_text
from common.objects.visible_nouns import noun_lists
from common.paths import DATASET
from dataset.abstract_nouns import abstract_nouns

THINGS = "dog table people sign pizza kite racket tree sky snow water shelf window shirt hand crowd light railing"
SETTINGS = "kitchen street beach park room station harbor city court platform"
NO_THINGS = (
    "mood background scene image photo atmosphere moment day side front distance foreground addition variety presence "
    "color colour style beauty experience game surfing happiness touch view sense attention one something"
)


@pytest.mark.parametrize("word", THINGS.split())
def test_concrete_things_can_be_seen(word: str) -> None:
    assert noun_lists().can_be_seen(word, word)
    assert noun_lists().can_be_seen(word.title(), word)


@pytest.mark.parametrize("word", NO_THINGS.split())
def test_moods_and_words_about_the_picture_cannot(word: str) -> None:
    assert not noun_lists().can_be_seen(word, word)


@pytest.mark.parametrize("word", SETTINGS.split())
def test_settings_are_no_objects(word: str) -> None:
    lists = noun_lists()
    assert lists.is_setting(word.title(), word) and lists.is_setting(f"{word}s", word)
    assert not lists.can_be_seen(word, word) and not lists.can_be_seen(f"{word}s", word)


def test_every_coco_category_can_be_seen() -> None:
    """By its last word, or as a name of several words."""
    lists = noun_lists()
    for line in read_text(DATASET / "synonyms.txt").splitlines():
        name = line.split(",")[0].strip()
        head = name.split()[-1]
        assert tuple(name.split()) in lists.compounds or lists.can_be_seen(head, head), name


def test_unknown_words_are_things_unless_they_are_verb_forms() -> None:
    lists = noun_lists()
    assert lists.can_be_seen("zorbulator", "zorbulator")
    assert not lists.can_be_seen("zorbing", "zorbing")
    assert not lists.can_be_seen("--", "--")


def test_the_hand_made_lists_do_not_contradict_each_other() -> None:
    lists = noun_lists()
    assert not lists.visible & lists.not_visible
    assert not lists.settings & (lists.visible | lists.not_visible | lists.capitalised)
    assert not {words for words in lists.compounds if words[-1] in lists.settings}


def test_the_lemma_decides_where_the_plural_is_another_word() -> None:
    """WordNet knows "bowls" as a game; in a caption it is the plural of bowl."""
    assert noun_lists().can_be_seen("bowls", "bowl")


def wordnet(folder: Path, index: str, data: str) -> Path:
    """A folder in WordNet's layout, with its indented licence lines."""
    (folder / "index.noun").write_text("  1 licence\n" + index)
    (folder / "data.noun").write_text("  1 licence\n" + data)
    return folder


def test_abstract_nouns_go_by_the_most_frequent_sense(tmp_path: Path) -> None:
    index = (
        "mood n 1 1 @ 1 0 00000001\n"
        "dog n 1 1 @ 1 0 00000002\n"
        "match n 2 1 @ 2 0 00000002 00000001\n"
        "paris n 1 1 @ 1 0 00000003\n"
        "good_mood n 1 1 @ 1 0 00000001\n"
    )
    data = (
        "00000001 12 n 02 mood 0 good_mood 0 000 | x\n"
        "00000002 05 n 02 dog 0 match 0 000\n"
        "00000003 15 n 01 Paris 0 000\n"
    )
    assert abstract_nouns(wordnet(tmp_path, index, data)) == ["mood"]


def test_a_folder_that_is_not_wordnet_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="not in WordNet's format"):
        abstract_nouns(wordnet(tmp_path, "mood n x\n", "00000001 12 n\n"))
