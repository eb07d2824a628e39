"""From a phrase to one of the 80 COCO objects, and gold objects of an image."""

from __future__ import annotations

import json

import pytest

from common.errors import DataError
from common.files.gold import read_truth
from common.files.vocabulary import read_vocabulary

VOCABULARY = read_vocabulary()


@pytest.mark.parametrize(
    ("phrase", "node"),
    [
        ("dog", "dog"),
        ("two puppies", "dog"),
        ("a wooden dining table", "dining table"),
        ("sofas", "couch"),
        ("The Women", "person"),
        ("knives", "knife"),
        ("buses", "bus"),
        ("bus", "bus"),
        ("wine glasses", "wine glass"),
        ("hot dog", "hot dog"),
        ("a pair of scissors", "scissors"),
        ("several pieces of broccoli", "broccoli"),
        ("toilet seat", "toilet"),
        ("baby elephant", "elephant"),
        ("traffic lights", "traffic light"),
        ("TV", "tv"),
        ("the leg of a table", None),
        ("a dog's collar", None),
        ("train tracks", None),
        ("the mood", None),
        ("carpet", None),
        ("", None),
        ("of", None),
        ("a pair of", None),
    ],
)
def test_the_head_of_a_phrase_decides(phrase, node):
    assert VOCABULARY.node(phrase) == node


def test_all_eighty_category_names_are_their_own_node():
    nodes = set(VOCABULARY.nodes.values())
    assert len(nodes) == 80
    assert all(VOCABULARY.node(name) == name for name in nodes)


def test_a_caption_names_its_objects_longest_first():
    text = "A man eats a hot dog on the dining table; two teddy bears, a baby giraffe."
    assert list(VOCABULARY.nodes_in(text)) == ["person", "hot dog", "dining table", "teddy bear", "giraffe"]


def test_an_empty_list_is_an_error(tmp_path):
    (tmp_path / "s.txt").write_text("\n\n")
    with pytest.raises(DataError, match="no synonyms"):
        read_vocabulary(tmp_path / "s.txt")


def test_gold_is_the_union_of_instances_and_caption_objects(tmp_path):
    instances = {
        "images": [{"id": 1, "file_name": "1.jpg"}, {"id": 2, "file_name": "2.jpg"}],
        "categories": [{"id": 5, "name": "dog"}],
        "annotations": [{"image_id": 1, "category_id": 5}],
    }
    captions = {"annotations": [{"image_id": 1, "caption": "A puppy on a sofa."}]}
    (tmp_path / "instances.json").write_text(json.dumps(instances))
    (tmp_path / "captions.json").write_text(json.dumps(captions))
    truth = read_truth(tmp_path, None, VOCABULARY)
    assert truth.objects == {1: {"dog", "couch"}, 2: set()}
    assert truth.lacking == {"captions": {2}, "instances": set()}


def test_gold_from_a_file_takes_synonyms_and_file_names(tmp_path):
    path = tmp_path / "gold.json"
    path.write_text(json.dumps({"7": ["Sofa", "dining_table"], "a.jpg": ["puppy"]}))
    truth = read_truth(None, path, VOCABULARY)
    assert truth.objects == {7: {"couch", "dining table"}, truth.known.number("a.jpg"): {"dog"}}


@pytest.mark.parametrize("value", [[1], {"1": "dog"}, {"1": [3]}, {"1": ["unicorn"]}, {"1": None}, {}])
def test_a_malformed_gold_file_is_named(tmp_path, value):
    path = tmp_path / "gold.json"
    path.write_text(json.dumps(value))
    with pytest.raises(DataError, match=r"gold\.json"):
        read_truth(None, path, VOCABULARY)
