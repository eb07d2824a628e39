"""Repaired captions: what is cut, what stays, and that no repaired caption is torn."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import ArgumentError, DataError
from common.files.record_files import read_sentence_samples
from common.files.records import CaptionObjects, ObjectMention, SentenceSample, SpanSample
from common.samples.spans import split_sentences
from common.thresholds import Thresholds
from finetune import format_data
from finetune.corpus.origin import DETERMINERS, strange_captions, torn_beginnings
from finetune.corpus.samples import read_samples, require_cut_at
from finetune.samples import enumerations
from finetune.samples.repair import build_repaired, captions_of_sets, repair, repair_sets

CUT = Thresholds()
LOW, GOOD = 10.0, 35.0


def caption(text: str, **scores: float) -> CaptionObjects:
    """Each object at the first place where its word stands."""
    mentions = [ObjectMention(w, text.index(w), text.index(w) + len(w), score) for w, score in scores.items()]
    return CaptionObjects("1.png", 1, text, tuple(sorted(mentions, key=lambda m: m.start)))


@pytest.mark.parametrize(
    ("text", "scores", "expected"),
    [
        # A list item goes alone, wherever it stands; commas and verbs follow.
        ("A dog, a cat and a frisbee.", {"dog": GOOD, "cat": GOOD, "frisbee": LOW}, "A dog and a cat."),
        ("A dog, a cat and a frisbee.", {"dog": GOOD, "cat": LOW, "frisbee": GOOD}, "A dog and a frisbee."),
        ("A dog, a cat and a frisbee.", {"dog": LOW, "cat": GOOD, "frisbee": GOOD}, "A cat and a frisbee."),
        ("A bus with a dog, a cat, a cup, and a man.", {"cup": LOW, "dog": GOOD, "cat": GOOD, "man": GOOD},
         "A bus with a dog, a cat, and a man."),
        ("There are a dog and a cat here.", {"dog": GOOD, "cat": LOW}, "There is a dog here."),
        ("There is a cat and two dogs.", {"cat": LOW, "dogs": GOOD}, "There are two dogs."),
        ("Two dogs and a cat are visible.", {"dogs": LOW, "cat": GOOD}, "A cat is visible."),
        ("A dog and an old red umbrella on the left.", {"dog": GOOD, "umbrella": LOW}, "A dog on the left."),
        ("A pair of scissors and a cup.", {"scissors": GOOD, "cup": LOW}, "A pair of scissors."),
        # A phrase begins with its own article, not with the sentence's.
        ("A bus. The scene also includes a dog and a cat.", {"bus": GOOD, "dog": LOW, "cat": GOOD},
         "A bus. The scene also includes a cat."),
        ("A bus. The scene also includes two dogs and a cat, as it seems.", {"bus": GOOD, "dogs": LOW, "cat": GOOD},
         "A bus. The scene also includes a cat, as it seems."),
        ("A bus and the two big dogs.", {"bus": GOOD, "dogs": LOW}, "A bus."),
        ("A dog, a cup, or a cat.", {"dog": GOOD, "cup": GOOD, "cat": LOW}, "A dog or a cup."),
        ("There are a few cups and a cat.", {"cups": GOOD, "cat": LOW}, "There are a few cups."),
        ("A dog and a cat have been seen.", {"dog": GOOD, "cat": LOW}, "A dog has been seen."),
        ("It has a shelf, a desk, and a cat.", {"desk": GOOD, "cat": LOW}, "It has a shelf and a desk."),
        ("In the back, a dog and a cat are seen.", {"dog": GOOD, "cat": LOW}, "In the back, a dog is seen."),
        ("A dog, a cat, a stick and a cup.", {"dog": GOOD, "cat": LOW}, "A dog, a stick and a cup."),
        # Two clauses are no list, nor is it one where the sentence would count, pair or tell of what has gone.
        *((f"A bus. {text}", {"bus": GOOD, "dog": LOW, "cat": GOOD}, "A bus.") for text in (
            "It is put on a dog, and a cat is near.", "It holds a dog and a cat runs.", "A dog and a cat sleep there.",
            "A cat and a dog bed.", "It lies on a dog and a cat's hand holds it.", "A lamp on a dog, and a cat.",
            "Both a cat and a dog.", "It is between a cat and a dog.", "Two animals, a cat and a dog, are seen.",
            "A cat and a dog next to each other.", "A cat and a dog of fruit.", "A cat and a dog, which is red.",
            "A cat and a dog (red).", "A man with a dog, a woman with a cat.", "It is by a cat and a dog in a park.",
            "It is near a cat and the dog on the left is red.", "It has a cat, and a dog is near.",
            "A cat and a dog are friends.", "There have been a cat and a dog.", "A cat and a dog, one on each side.",
        )),
        # The first item does not leave the others what was said of it alone; the last may go.
        *((f"A bus. A man {text}", {"bus": GOOD, "dog": LOW, "cat": GOOD}, "A bus.") for text in (
            "wearing a dog and a cat.", "rides a dog, a tree and a cat.", "eats a slice of a dog and a cat.",
            "is covered with a dog and a cat.", "plays with a dog and a cat.", "has a dog and a cat.",
            "wears glasses, a dog and a cat.", "wears glasses and a dog and a cat.", "in the room has a dog and a cat.",
            "is dressed as a dog and a cat.", "looks like a dog and a cat.",
        )),
        ("A man wearing a hat and a dog.", {"hat": GOOD, "dog": LOW}, "A man wearing a hat."),
        # It goes where what stands before it fits any thing.
        *((f"{text} a hat and a dog.", {"hat": LOW, "dog": GOOD}, f"{text} a dog.") for text in (
            "A man with", "In a park, featuring", "The scene also includes", "A photo of", "Pets such as",
            "The image also shows", "A living room has", "On the side,", "In the back we can see", "A bed with",
            "In the back there is also", "Next to it is", "1.",
        )),
        # Whose it is behind a list cannot be told, whichever goes; and a dog is no part of a hat.
        *((f"A bus. {text}", {"bus": GOOD, gone: LOW, left: GOOD}, "A bus.") for gone, left in (
            ("dog", "woman"), ("woman", "dog"),
        ) for text in (
            "A dog and a woman in her car.", "A woman and a dog in her arms.", "There is a woman and a dog on its mat.",
            "A dog and a woman as she walks.", "It shows a dog and a woman standing near it.",
        )),
        ("A bus. A hat with a feather and a dog.", {"bus": GOOD, "feather": LOW, "dog": GOOD}, "A bus."),
        ("A hat with a feather and a dog.", {"feather": GOOD, "dog": LOW}, "A hat with a feather."),
        # "And" may join a longer list than the one that ends there.
        *((f"A bus. {text}", {"bus": GOOD, "hat": GOOD, "cat": LOW}, left) for text, left in (
            ("A dog, a man with a hat and a cat.", "A bus."), ("A dog, a man with a hat, a tie and a cat.", "A bus."),
            ("In a park, a man with a hat and a cat.", "A bus. In a park, a man with a hat."),
            ("A man sits there, holding a hat and a cat.", "A bus. A man sits there, holding a hat."),
        )),
        # Whatever is in no list takes its sentence with it.
        ("A dog. A cat sleeps. A man.", {"dog": GOOD, "cat": LOW, "man": GOOD}, "A dog. A man."),
        ("A dog. A man holds a cup.", {"dog": GOOD, "man": GOOD, "cup": LOW}, "A dog."),
        ("A dog. A cat and a cup.", {"dog": GOOD, "cat": LOW, "cup": LOW}, "A dog."),
        ("A dog. The cat and a cup are here.", {"dog": GOOD, "cat": GOOD, "cup": LOW}, "A dog."),  # is it one cat?
        # And what refers back to it.
        ("A dog. A cat. It is red. A man.", {"dog": GOOD, "cat": LOW, "man": GOOD}, "A dog. A man."),
        ("A dog. A cat. They sleep. Their bed is red.", {"dog": GOOD, "cat": LOW, "bed": GOOD}, "A dog."),
        ("A dog. It is red. A cat.", {"dog": GOOD, "cat": LOW}, "A dog. It is red."),
        *((f"A dog. A cat. {text} A man.", {"dog": GOOD, "cat": LOW, "man": GOOD}, "A dog. A man.") for text in (
            "However, it is red.", "To the left of it is a tree.", "Some of them run.", "There is another one.",
            "Some of these run.", "The first one runs.", "A second one runs.", "Beside that is a tree.", "or a tree.",
            "On its head is a hat.", "A tree is right behind it.",
        )),
        ("A dog and a cat. They are red. Rain falls.", {"dog": GOOD, "cat": LOW}, "A dog. Rain falls."),
        ("A dog, a man and a cat. They run.", {"dog": GOOD, "man": GOOD, "cat": LOW}, "A dog and a man. They run."),
        # Paragraphs and numbered lines stay.
        ("A dog.\n\nA cat.  A man.", {"dog": GOOD, "cat": LOW, "man": GOOD}, "A dog.\n\nA man."),
        ("1. A dog.\n2. A cat.\n3. A man.", {"dog": GOOD, "cat": LOW, "man": GOOD}, "1. A dog.\n3. A man."),
        ("Here:\n1. A cat.\n2. A dog.", {"dog": GOOD, "cat": LOW}, None),
        ("Here:\n1. A dog\n2. A cat\n3. A man.", {"dog": GOOD, "cat": LOW, "man": GOOD}, None),
        ("A dog. (A man. A cat.) A cup.", {"dog": GOOD, "man": GOOD, "cat": LOW, "cup": GOOD}, None),
        *((f"{start} holds a cat. A dog.", {"dog": GOOD, "cat": LOW}, None) for start in (
            "The U.S. Army", "J. Smith", "At 5 a.m. Mr. Smith", "Bus no. 5",
        )),
        ("A dog. A cat. A man J. **", {"dog": GOOD, "cat": LOW, "man": GOOD}, "A dog. A man J."),
        ("A dog. A cat. It is 5 p.m.", {"dog": GOOD, "cat": LOW}, "A dog."),
        ("A dog. A cat. Mr. Smith is in the U.S.", {"dog": GOOD, "cat": LOW}, "A dog. Mr. Smith is in the U.S."),
        # Never a beginning or an end that is torn.
        ("A cat sleeps. A dog.", {"cat": LOW, "dog": GOOD}, None),
        ("A dog. A cat. And then there", {"dog": GOOD, "cat": LOW}, "A dog."),
        ("A dog and a cat", {"dog": GOOD, "cat": LOW}, None),
        ('He said "A dog." A cat! A man?', {"dog": GOOD, "cat": LOW, "man": GOOD}, 'He said "A dog." A man?'),
    ],
)  # fmt: skip
def test_what_is_cut(text: str, scores: dict[str, float], expected: str | None) -> None:
    found = repair(caption(text, **scores), CUT)
    assert (found and found.text) == expected


def test_what_is_lost_is_told_and_counted() -> None:
    records = [
        caption("A dog. A man holds a cup.", dog=GOOD, man=GOOD, cup=LOW),
        caption("A dog and a cup.", dog=GOOD, cup=LOW),
        caption("A cup.", cup=LOW),
        caption("It rains. A cup.", cup=LOW),
        caption("A dog.", dog=GOOD),
        caption("A dog and a cat.", dog=GOOD, cat=LOW),
    ]
    every = build_repaired(records, CUT)
    assert [s.sentence for s in every.samples] == ["A dog."]  # of one image each text once
    assert (every.counts.repaired, every.counts.repeated, every.counts.low_captions) == (1, 2, 5)
    assert every.counts.nothing_left == 1
    assert (every.counts.torn_openings, every.counts.cut_sentences, every.counts.cut_items) == (1, 1, 0)
    assert every.samples[0] == SentenceSample("1.png", "A dog.", GOOD, GOOD)


NOUNS = ("dog", "cat", "cup", "man", "bus", "tree")
phrases = st.builds(
    lambda det, adjective, noun: f"{det} {adjective}{noun}",
    st.sampled_from(["a", "two", "the", "several"]), st.sampled_from(["", "red ", "very old "]), st.sampled_from(NOUNS),
)  # fmt: skip
sentences = st.builds(
    lambda start, items, end: start + ", ".join(items[:-1]) + (" and " if items[1:] else "") + items[-1] + end,
    st.sampled_from(["", "There is ", "It shows ", "In the back, ", "Next to it are "]),
    st.lists(phrases, min_size=1, max_size=4),
    st.sampled_from([".", " are here.", " is red!", " on the left, which is fine.", ""]),
)


@given(st.lists(sentences, min_size=1, max_size=5), st.data())
@settings(max_examples=200, deadline=None)
def test_nothing_low_stays_and_no_sentence_is_torn(parts: list[str], data: st.DataObject) -> None:
    text = " ".join(part[:1].upper() + part[1:] for part in parts)
    places = [(noun, i) for noun in NOUNS for i in range(len(text)) if text.startswith(noun, i)]
    mentions = tuple(
        ObjectMention(noun, i, i + len(noun), data.draw(st.sampled_from([LOW, GOOD])))
        for noun, i in sorted(places, key=lambda p: p[1])
    )
    record = CaptionObjects("1.png", 1, text, mentions)
    found = repair(record, CUT)
    if found is None:
        return
    assert all(m.score == GOOD for m in (*found.mentions, *found.lost))
    left = sorted(m.text for m in found.mentions)
    assert sorted(noun for noun in NOUNS for _ in range(found.text.count(noun))) == left
    low = sum(m.score == LOW for m in mentions)
    assert len(found.mentions) + len(found.lost) + low == len(mentions)
    whole = [text[s.start : s.end] for s in split_sentences(text)]
    assert found.text[-1] in ".!" and found.text[0] == found.text[0].upper()
    if not low and whole[-1][-1] in ".!":
        assert found.text == " ".join(whole)


def test_sentences_are_whole() -> None:
    text = 'Mr. Smith has 2.5 m (of rope). "Yes!" he says...  Then, ?! nothing'
    found = [text[s.start : s.end] for s in split_sentences(text)]
    assert found == ["Mr. Smith has 2.5 m (of rope).", '"Yes!"', "he says...", "Then, ?!", "nothing"]


def test_captions_of_a_published_set() -> None:
    spans = [
        SpanSample("a", "A dog,", 0, GOOD),
        SpanSample("a", "A dog, a cat. There is a cup", 13, LOW),
        SpanSample("b", "A dog,", 0, LOW),
    ]
    records = captions_of_sets(spans, [SentenceSample("a", "A dog, a cat. There is a cup.", 20, LOW)])
    assert [m.text for m in records[0].objects] == ["A dog,", "There is a cup"]
    assert [s.sentence for s in build_repaired(records, CUT).samples] == ["A dog, a cat."]


def test_a_published_caption_whose_lowest_thing_is_in_no_span_is_left_alone() -> None:
    """A dog and a cat are in one span, which is in conflict and so not in the set; the cup alone would be cut."""
    text = "A bus. A dog and a cat, a cup."
    spans = [SpanSample("a", "A bus", 0, GOOD), SpanSample("a", "A bus. A dog and a cat, a cup", 23, LOW)]
    for least, expected in ((LOW, ["A bus."]), (LOW - 1, [])):
        found = repair_sets(spans, [SentenceSample("a", text, 20, least)], CUT)
        assert [s.sentence for s in found.samples] == expected
        assert (found.counts.low_captions, found.counts.unlocated) == (1, int(not expected))
    assert not repair_sets([], [SentenceSample("a", text, GOOD, GOOD)], CUT).counts.low_captions


class Files:
    """Scores of two captions, and the three sets that the script makes of them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        texts = {1: ("A dog and a cup.", LOW), 2: ("A dog and a cat.", GOOD)}
        lines = []
        for number, (text, score) in texts.items():
            second = text.split()[-1][:-1]
            objects = [
                {"text": "dog", "start": 2, "end": 5, "score": GOOD},
                {"text": second, "start": text.index(second), "end": text.index(second) + 3, "score": score},
            ]
            lines.append(
                json.dumps({"image": f"{number}.png", "image_id": number, "caption": text, "objects": objects})
            )
        (folder / "scores.jsonl").write_text("\n".join(lines) + "\n")

    def make(self, monkeypatch: pytest.MonkeyPatch, *flags: str) -> None:
        """Run the script."""
        names = {"pos_neg_data_path": "pos_neg.json", "sentence_data_path": "sentences.json"}
        paths = [word for key, name in names.items() for word in (f"--{key}", str(self.folder / name))]
        monkeypatch.setattr(sys, "argv", ["format_data.py", *paths, *flags])
        format_data.main()


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


def test_the_script_writes_the_set_beside_the_spans(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    files.make(monkeypatch, "--score_data_path", str(files.folder / "scores.jsonl"), "--unlearn_target", "objects")
    (repaired,) = read_sentence_samples(files.folder / "repaired.json")
    assert repaired == SentenceSample("1.png", "A dog.", GOOD, GOOD)
    notes = json.loads((files.folder / "repaired.json.manifest.json").read_text())
    assert notes["counts"]["cut_items"] == 1 and notes["thresholds"]["hallucinated"] == 23


def test_a_set_of_other_scores_is_refused(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = files.folder
    files.make(monkeypatch, "--score_data_path", str(folder / "scores.jsonl"), "--unlearn_target", "objects")
    sets = (folder / "pos_neg.json", folder / "sentences.json", folder / "repaired.json")
    assert len(read_samples(*sets).repaired) == 1
    manifest = folder / "repaired.json.manifest.json"
    notes = json.loads(manifest.read_text())
    others = {
        "scores_sha256": "0" * 64,
        "thresholds": notes["thresholds"] | {"grounded": 99.0},
        "agreement": {"share": [0.4, 0.6]},
        "repeats": "unlearn",
        "spans_sha256": "0" * 64,  # of --repair
    }
    for name, value in others.items():
        manifest.write_text(json.dumps(notes | {name: value}))
        with pytest.raises(DataError, match=f"repaired.json was made with {name}"):
            read_samples(*sets)
    manifest.write_text(json.dumps(notes))
    require_cut_at(sets[2], CUT)
    with pytest.raises(DataError, match="lacks what is scored below 23, and spans are unlearnt below 20"):
        require_cut_at(sets[2], replace(CUT, hallucinated=20))
    manifest.unlink()
    require_cut_at(sets[2], replace(CUT, hallucinated=20))  # nothing is known of it
    (folder / "sentences.json.manifest.json").write_text(json.dumps(notes | {"scores_sha256": "0" * 64}))
    with pytest.raises(DataError, match=r"sentences.json was made with scores_sha256"):
        read_samples(*sets)
    (folder / "sentences.json.manifest.json").unlink()
    strange = [{"image": "7.png", "sentence": "A dog.", "mean": GOOD, "min": GOOD}]
    (folder / "repaired.json").write_text(json.dumps(strange))
    with pytest.raises(DataError, match=r"captions of 1 images that the other sets lack, as '?7.png"):
        read_samples(*sets)
    (folder / "repaired.json").write_text("[]")
    with pytest.raises(DataError, match="no captions"):
        read_samples(*sets)
    # Nothing is noted of these, and their images are the same ones: their words tell.
    other = [{"image": "1.png", "sentence": "A dog runs there.", "mean": GOOD, "min": GOOD}]
    (folder / "repaired.json").write_text(json.dumps(other))
    with pytest.raises(DataError, match=r"1 of 1 captions .* not what is left .* 'A dog runs there"):
        read_samples(*sets)
    for texts, named in (
        (["cup."], "begins within a sentence, 'cup.'"), ([" "], "the sentence is empty"),
        (["A dog and a cup."] * 3, "nothing is cut out of any"),
    ):  # fmt: skip
        (folder / "repaired.json").write_text(
            json.dumps([{"image": "1.png", "sentence": text, "mean": GOOD, "min": GOOD} for text in texts])
        )
        with pytest.raises(DataError, match=rf"repaired\.json.*{named}"):
            read_samples(*sets)
    with pytest.raises(DataError, match="as --sentence_data_path and as --repaired_data_path"):
        read_samples(sets[0], sets[1], sets[1])


@given(st.lists(sentences, min_size=1, max_size=5), st.data())
@settings(max_examples=50, deadline=None)
def test_what_is_repaired_is_known_by_its_words(parts: list[str], data: st.DataObject) -> None:
    text = " ".join(part[:1].upper() + part[1:] for part in parts)
    places = sorted((i, noun) for noun in NOUNS for i in range(len(text)) if text.startswith(noun, i))
    scores = st.sampled_from([LOW, GOOD])
    mentions = tuple(ObjectMention(noun, i, i + len(noun), data.draw(scores)) for i, noun in places)
    found = repair(CaptionObjects("1.png", 1, text, mentions), CUT)
    if found is not None:
        one = SentenceSample("1.png", found.text, GOOD, GOOD)
        whole = [SentenceSample("1.png", text, GOOD, LOW)]
        assert not strange_captions([one], [], whole) and not torn_beginnings([one], whole)


@pytest.mark.parametrize(
    ("left", "torn"),
    [("A cat and a cup. It is red.", False), ("Two dogs and a cup.", False), ("a cat and a cup.", True),
     ("And a cup. It is red.", True), ("Cup. It is red.", True), ("It is red.", True), ("is red.", True)],
)  # fmt: skip
def test_a_repaired_caption_that_begins_within_a_sentence_is_known(left: str, torn: bool) -> None:
    whole = [SentenceSample("1.png", "Two dogs, a cat and a cup. It is red.", GOOD, LOW)]
    assert bool(torn_beginnings([SentenceSample("1.png", left, GOOD, GOOD)], whole)) is torn
    assert frozenset(enumerations.DETERMINERS) == DETERMINERS


def test_repairing_needs_no_scores_and_takes_none(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match="which published file is to be read"):
        monkeypatch.setattr(sys, "argv", ["format_data.py", "--repair"])
        format_data.main()
    with pytest.raises(ArgumentError, match="leave out"):
        files.make(monkeypatch, "--repair", "--score_data_path", "scores.jsonl")
    for flag, value in (
        ("--agreement", "true"),
        ("--repeats", "unlearn"),
        ("--whole_captions", "best"),
        ("--unlearn_target", "opened"),
    ):
        with pytest.raises(ArgumentError, match=f"{flag} needs scored objects"):
            files.make(monkeypatch, "--repair", flag, value)
    (files.folder / "pos_neg.json").write_text(json.dumps(
        [{"image": "1.png", "sentence": "A dog. There is a cup", "position": 6, "score": LOW}]
    ))  # fmt: skip
    (files.folder / "sentences.json").write_text(json.dumps(
        [{"image": "1.png", "sentence": "A dog. There is a cup.", "mean": 20.0, "min": LOW}]
    ))  # fmt: skip
    with pytest.raises(DataError, match="could be repaired"):
        files.make(monkeypatch, "--repair")  # nothing scored is left of it
    assert not (files.folder / "repaired.json").exists()
