"""One rule from the name of an image to its number."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import DataError
from common.files.image_ids import HASHED_FROM, KnownImages, hashed_id, image_id_of, image_ids_of, plain_number


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("COCO_val2014_000000000042.jpg", 42),
        ("val2014/COCO_val2014_000000000042.jpg", 42),
        ("000000000042.jpg", 42),
        ("n161313.jpg", 161313),
        ("VizWiz_val_00000007.jpg", 7),
        ("0.png", 0),
    ],
)
def test_digits_at_the_end_are_the_number(name: str, number: int) -> None:
    assert image_id_of(name) == number


@pytest.mark.parametrize(
    "name",
    ["003a8ae2ef43b901.png", "cat.png", "42_copy.png", "9" * 30 + ".png", "é.png", "photo (2).png", "2007_000027.jpg"],
)
def test_other_names_get_a_number_of_their_own(name: str) -> None:
    assert HASHED_FROM <= image_id_of(name) < 2 * HASHED_FROM
    assert image_id_of(f"folder/{name}") == image_id_of(name) == hashed_id(name)


def test_two_images_with_one_number_are_refused() -> None:
    """Train and val pictures of one number, say, whose captions would be taken for each other's."""
    with pytest.raises(DataError, match=r"7\.png and img7\.png have the same id 7"):
        image_ids_of(["7.png", "8.png", "img7.png"])
    assert len(set(image_ids_of(["2007_000027.jpg", "2008_000027.jpg"]).values())) == 2


@given(st.lists(st.text(st.characters(codec="utf-8"), min_size=1, max_size=12), unique=True, max_size=8))
def test_any_names_have_numbers_that_json_holds(names: list[str]) -> None:
    """Different names, different numbers, or refused: the same file name in two folders, the same digits."""
    try:
        ids = image_ids_of(names)
    except DataError as error:
        assert "have the same id" in str(error)
        return
    assert len(set(ids.values())) == len(names)
    assert all(0 <= number < 2**53 for number in ids.values())
    assert ids == image_ids_of(reversed(names))


def test_what_data_state_decides() -> None:
    known = KnownImages.of([("train/a.jpg", 5), ("b_901.jpg", 6), ("000000000012.jpg", 12)], "here")
    assert known.resolve("a.jpg", hashed_id("a.jpg")) == 5
    assert known.resolve("b_901.jpg", 901) == 6
    assert known.resolve("COCO_val2014_000000000012.jpg", 12) == 12  # another name of the same number
    assert known.resolve("6", 6) == 6  # a number without name
    assert known.resolve("x.jpg", 77) == 77  # not known at all
    with pytest.raises(DataError, match=r"a\.jpg has id 7 in its record, but 5 in here"):
        known.resolve("a.jpg", 7)
    with pytest.raises(DataError, match=r"number 6 is that of b_901\.jpg"):
        known.resolve("c_6.jpg", 6)
    with pytest.raises(DataError, match="which its name contradicts"):
        known.resolve("COCO_val2014_000000000100.jpg", 9)
    twice = KnownImages.of([("one/a.jpg", 1), ("two/a.jpg", 2)], "here")
    assert (twice.number("two/a.jpg"), twice.number("one/a.jpg")) == (2, 1)
    with pytest.raises(DataError, match="several ids in here: 1, 2"):
        twice.number("a.jpg")


@pytest.mark.parametrize(("text", "number"), [("7", 7), ("007", 7), ("9" * 18, 10**18 - 1), ("٧", 7)])
def test_a_number_alone_is_read(text: str, number: int) -> None:
    assert plain_number(text) == number


@pytest.mark.parametrize("text", ["", "7.0", "-7", "²", "9" * 19, "9" * 5000])
def test_no_other_text_is_a_number(text: str) -> None:
    """Python refuses to read thousands of digits, which no id has."""
    assert plain_number(text) is None
