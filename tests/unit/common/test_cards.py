"""Model cards: headers that the hub takes, scores of the right checkpoint, nobody's words overwritten, no markup."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from huggingface_hub import ModelCard

from common.args import ModelArguments
from common.cards.base import Base, base_of
from common.cards.card import Subject, is_ours, is_untouched, model_card, remove_card, write_card
from common.cards.loading import Loading
from common.cards.recipe import inline, recipe_rows
from common.cards.scores import Comparison, Hashes, ResultFile, comparisons
from common.errors import DataError
from tests.small_hub import header_verdict

SUBJECT = Subject("run", Loading("efuf", "llava", "tiny"), Base("acme/tiny", True, "c0ffee", "llama2"))


def result(folder: Path, name: str, chair: float, **hashes: str | None) -> Path:
    """A result file of captions."""
    value = {
        "task": "chair",
        "definition": "CHAIR",
        "version": "chair-2",
        "n": 300,
        "scores": {"chair_s": chair, "words": 40.25, "perplexity": None},
        "intervals": {"chair_s": [chair - 0.05, chair + 0.05]},
        "manifest": {"arguments": {"annotation_path": "/home/somebody/annotations"}, **hashes},
        "units": None,
    }
    path = folder / name
    path.write_text(json.dumps(value))
    return path


def test_the_header_is_one_that_the_hub_takes(tmp_path: Path) -> None:
    write_card(tmp_path, SUBJECT)
    status, verdict = header_verdict((tmp_path / "README.md").read_text())
    assert status == 200, verdict
    data = ModelCard.load(tmp_path / "README.md").data
    assert (data.license, data.base_model, data.to_dict()["base_model_relation"]) == ("llama2", "acme/tiny", "finetune")
    assert {"efuf", "unlearning", "llava"} <= set(data.tags)


def test_a_base_that_is_no_hub_id_is_named_in_the_text_alone(tmp_path: Path) -> None:
    """Neither its path, which would tell of the machine, nor a name that the hub refuses."""
    folder = tmp_path / "weights of mine"
    folder.mkdir()
    (folder / "README.md").write_text("---\nlicense: cc-by-4.0\n---\n# x\n")
    base = base_of(ModelArguments(llava_path=str(folder)))
    assert base == Base("weights of mine", licence="cc-by-4.0")
    text = model_card(replace(SUBJECT, base=base))
    assert "base_model" not in text and str(tmp_path) not in text and "license: cc-by-4.0" in text


def test_the_hubs_cache_tells_the_id(tmp_path: Path) -> None:
    folder = tmp_path / "models--acme--tiny" / "snapshots" / "c0ffee"
    folder.mkdir(parents=True)
    assert base_of(ModelArguments(auto_path=str(folder), model="auto")) == Base("acme/tiny", True, "c0ffee")


def test_results_stand_where_they_belong(tmp_path: Path) -> None:
    now = result(tmp_path, "now.json", 0.11, model_hash="m", checkpoint_hash="c")
    base = result(tmp_path, "base.json", 0.773, model_hash="m", checkpoint_hash=None)
    found = comparisons([base, now], Hashes("m", "c"))
    card = model_card(replace(SUBJECT, comparisons=found))
    assert "| chair\\_s | 77.3 % [72.3 %, 82.3 %] | 11.0 % [6.0 %, 16.0 %] |" in card
    assert "| words | 40.25 | 40.25 |" in card and "/home/somebody" not in card
    entries = {e.metric_type: e for e in ModelCard(card).data.eval_results or []}
    assert entries["chair_s"].metric_value == 0.11 and entries["chair_s"].dataset_name == "annotations, 300 captions"
    assert "perplexity" not in entries


@pytest.mark.parametrize(("model", "checkpoint"), [("m", "other"), ("other", None)])
def test_results_of_another_checkpoint_are_refused(tmp_path: Path, model: str, checkpoint: str | None) -> None:
    path = result(tmp_path, "now.json", 0.11, model_hash=model, checkpoint_hash=checkpoint)
    with pytest.raises(DataError, match="of another checkpoint"):
        comparisons([path], Hashes("m", "c"))


def test_the_base_alone_says_nothing_of_the_checkpoint(tmp_path: Path) -> None:
    path = result(tmp_path, "base.json", 0.7, model_hash="m", checkpoint_hash=None)
    with pytest.raises(DataError, match="all results are of the base"):
        comparisons([path], Hashes("m", "c"))


def test_what_is_no_result_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text('{"task": "chair", "scores": {"chair_s": "low"}}')
    with pytest.raises(DataError, match=r"x\.json"):
        comparisons([path], Hashes(None, None))


def test_rules_that_differ_are_not_shown_side_by_side(tmp_path: Path) -> None:
    now = result(tmp_path, "now.json", 0.1, model_hash="m", checkpoint_hash="c")
    base = result(tmp_path, "base.json", 0.7, model_hash="m", checkpoint_hash=None)
    base.write_text(base.read_text().replace("chair-2", "chair-1"))
    (found,) = comparisons([now, base], Hashes("m", "c"))
    assert found.base is None and "base (not given)" in model_card(replace(SUBJECT, comparisons=(found,)))


def test_nobodys_words_are_overwritten_or_removed(tmp_path: Path) -> None:
    card = tmp_path / "README.md"
    for words in ("# mine\n", model_card(SUBJECT).replace("## Limits", "## Mine\n\n## Limits"), "\udcff"):
        card.write_text(words, errors="surrogateescape")
        before = card.read_bytes()
        assert not write_card(tmp_path, SUBJECT)
        remove_card(tmp_path)
        assert card.read_bytes() == before
    card.write_text(model_card(SUBJECT))
    assert write_card(tmp_path, replace(SUBJECT, name="again")) and "# again" in card.read_text()
    remove_card(tmp_path)
    assert not card.exists()


def test_a_card_of_ours_is_known_after_an_edit_but_not_as_untouched() -> None:
    text = model_card(SUBJECT)
    edited = text.replace("## Limits", "## Limits and more")
    assert is_untouched(text) and is_ours(edited) and not is_untouched(edited) and not is_ours("# mine\n")


@pytest.mark.parametrize(("kept", "said"), [(60, False), (35, True), ("x", False)])
def test_a_run_that_kept_an_earlier_step_says_so(kept: Any, said: bool) -> None:
    rows = dict(recipe_rows({"steps": 60, "probe": {"kept_step": kept}}))
    assert rows["steps"] == "60"
    assert ("kept" in rows) is said and ("after step 35" in rows.get("kept", "")) is said


HOSTILE = "x</script>|`*_[a](b)\n# <b>\x1b[31m\u202e" + "w" * 500


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "lora"),
        ({"load_in_4bit": False, "decoder_dtype": "auto"}, "lora"),
        ({"load_in_4bit": True}, "lora, over a decoder of 4-bit weights"),
        ({"decoder_dtype": "fp8", "lora_rank": 8}, "lora, rank 8, over a decoder of 8-bit weights"),
    ],
)
def test_what_adapters_were_trained_over_is_said(given: dict[str, Any], said: str) -> None:
    assert dict(recipe_rows({"arguments": {"trainable": "lora", **given}}))["trained part"] == said


def test_text_from_files_is_no_markup() -> None:
    """In table, title, text and code."""
    training: dict[str, Any] = {"arguments": {"objective": HOSTILE, "trainable": HOSTILE}, "commit": HOSTILE}
    scored = ResultFile("chair", HOSTILE, HOSTILE, 3, {"chair_s": 0.1}, {})
    subject = Subject(
        HOSTILE,
        Loading("efuf", "llava", HOSTILE),
        Base(HOSTILE, licence=HOSTILE),
        training=training,
        comparisons=(Comparison(scored),),
    )
    text = model_card(subject)
    header, body = text.split("\n---\n", 1)
    assert yaml.safe_load(header.removeprefix("---\n"))["model-index"][0]["name"] == HOSTILE
    outside = "".join(re.split(r"\n```\w*\n", body)[::2])
    assert "<b>" not in outside.replace("\\<b\\>", "") and "\x1b" not in outside and "\u202e" not in outside
    assert [line for line in outside.splitlines() if line.startswith("# ")] == [f"# {inline(HOSTILE)}"]
    compile(re.split(r"\n```\w*\n", body)[1], "card", "exec")
