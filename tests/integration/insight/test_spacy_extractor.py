"""Objects by spaCy's English model, on sentences in the language of captions."""

from __future__ import annotations

import pytest

from common.objects.spacy_extractor import SpacyExtractor

CASES = [
    ("The image features two red traffic lights.", ["traffic lights"]),
    ("A man sits at a dining table with a cell phone.", ["man", "dining table", "cell phone"]),
    ("A tennis racket and a teddy bear lie on the bed.", ["tennis racket", "teddy bear", "bed"]),
    ("There is a slice of pizza on the plate.", ["pizza", "plate"]),
    ("A group of people is standing on a beach.", ["people"]),
    ("A couple of dogs sleep on the couch.", ["dogs", "couch"]),
    ("A pair of scissors lies beside a bowl of fruit.", ["scissors", "bowl", "fruit"]),
    ("A herd of cows is grazing in a field.", ["cows", "field"]),
    ("He eats a hot dog near a potted plant.", ["hot dog", "potted plant"]),
    ("In the background, the mood of the scene is calm.", []),
    ("The atmosphere adds a touch of beauty to the image.", []),
    ("In addition to the chairs, there is a variety of cups.", ["chairs", "cups"]),
    ("She looks at the camera. A camera lies on the desk.", ["camera", "desk"]),
    ("The dog stands in the middle of the frame. The bed has a wooden frame.", ["dog", "bed", "frame"]),
    ("The light is soft, and natural light comes in. A light hangs there.", ["light"]),
    ("There are no clouds above the snow-covered hill.", ["hill"]),
    ("The bowls stand beside a computer setup in the kitchen.", ["bowls", "computer"]),
    ('A bus with the words "City Tours" drives in London.', ["bus"]),
    ("Two TVs and a Frisbee are in the room.", ["TVs", "Frisbee"]),
    ("A large orange truck is parked on the street.", ["truck"]),
    ("People wait at a train station beside a clothing store.", ["People"]),
    ("A cat in a living room, a bus in a city street, a ball in a sports court.", ["cat", "bus", "ball"]),
    ("The kitchen sink is near a street sign and a beach umbrella.", ["kitchen sink", "street sign", "beach umbrella"]),
    ("Two women and three children are riding bicycles.", ["women", "children", "bicycles"]),
    ("A fire hydrant stands near a stop sign.", ["fire hydrant", "stop sign"]),
    ("Nothing.", []),
    ("", []),
]


@pytest.fixture(scope="module")
def extractor() -> SpacyExtractor:
    """Loaded once."""
    return SpacyExtractor()


@pytest.mark.parametrize(("caption", "wanted"), CASES)
def test_objects_of_a_sentence(caption: str, wanted: list[str], extractor: SpacyExtractor) -> None:
    (mentions,) = extractor.extract([caption])
    assert [mention.text for mention in mentions] == wanted
    assert all(caption[m.start : m.end] == m.text and m.score is None for m in mentions)


def test_every_mention_stands_in_order_of_appearance(extractor: SpacyExtractor) -> None:
    caption = "A dog chases a cat. The dog barks, and the cat runs up a tree."
    (mentions,) = extractor.extract([caption])
    assert [m.text for m in mentions] == ["dog", "cat", "dog", "cat", "tree"]
    assert [m.start for m in mentions] == sorted(m.start for m in mentions)


def test_d8_the_result_is_the_same_every_time(extractor: SpacyExtractor) -> None:
    captions = [caption for caption, _ in CASES]
    assert list(extractor.extract(captions)) == list(SpacyExtractor().extract(captions))


SPECIAL = [
    "</s>",
    "<s>",
    "<unk>",
    "<pad>",
    "<|im_end|>",
    "<|endoftext|>",
    "<0x0A>",
    "<end_of_turn>",
    "[INST]",
    "<<SYS>>",
]


@pytest.mark.parametrize("token", SPECIAL)
def test_special_tokens_are_no_part_of_an_object(token: str, extractor: SpacyExtractor) -> None:
    """Wherever they stand, with and without spaces; what is found is what is found without them."""
    captions = [
        f"A dog chases a cat{token}",
        f"A dog chases a cat. {token}",
        f"{token}A dog chases a cat.",
        f"A dog{token} chases a cat.{token}{token}",
    ]
    for caption, mentions in zip(captions, extractor.extract(captions), strict=True):
        assert [m.text for m in mentions] == ["dog", "cat"], caption
        assert all(caption[m.start : m.end] == m.text for m in mentions)


def test_no_object_reaches_over_a_special_token(extractor: SpacyExtractor) -> None:
    (mentions,) = extractor.extract(["A fire</s>hydrant stands near a stop</s> sign."])
    assert all("<" not in m.text and "  " not in m.text for m in mentions)
