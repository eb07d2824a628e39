"""The report before training, counted by hand, and the bounds of packs."""

from __future__ import annotations

from typing import Any

import pytest

from common.errors import ArgumentError
from common.files.images import ImageFolder
from finetune.corpus.corpus import Corpus
from finetune.corpus.records import NEG, POS, SENT, CaptionItem, Span
from finetune.setup.arguments import EngineArguments
from finetune.setup.data import TrainingData, longer_than, token_counts, too_long_line
from finetune.setup.engine import CPU_TOKENS, pack_plan, switch_on
from finetune.steps.packs import PackPlan
from tests.unit.finetune.steps.test_packs import PROMPT

PLAN = PackPlan(image_tokens=10, shares=True)
A = CaptionItem(
    "1/0", "1", PROMPT, (20, 21, 22, 2), (Span(POS, 0, 2, 33.0), Span(NEG, 2, 3, 20.0), Span(SENT, 0, 4, 30.0))
)
B = CaptionItem("1/1", "1", PROMPT, (20, 25), (Span(POS, 1, 2, 33.0),))
C = CaptionItem("2/0", "2", PROMPT, (30,), (Span(NEG, 0, 1, 20.0),))


def test_tokens_with_and_without_sharing() -> None:
    """A prompt with its image takes 3 + 10 + 1 tokens; a sample feeds its context and all but its last token.

    A and B begin with the same token, 20, which is run once: of B's nothing else is left to feed.
    """
    rows = [14 + 1, 14 + 2, 14 + 3, 14 + 1, 14 + 0]
    groups = [14 + 3, 14 + 0]
    assert token_counts([A, B, C], PLAN) == {"tokens_one_by_one": sum(rows), "tokens_shared": sum(groups)}


def test_lines_name_what_is_trained_on_saved_and_left_out(tmp_path: Any) -> None:
    """Images, captions, spans a caption, tokens, share saved, captions that are too long."""
    counts = dict.fromkeys(
        ("validation_samples", "between_thresholds", "sentences_below", "without_tokens", "lost_images"), 0
    )
    counts |= {"training_captions": 3, "training_samples": 5, "training_tokens": 7, "conflicts": 4}
    corpus = Corpus([A, B, C], [], ["1", "2"], [], counts)
    text = "\n".join(TrainingData(ImageFolder(tmp_path), corpus, [], PLAN, [A]).lines())
    assert "2 images, 3 captions, 5 samples" in text and "1.7 a caption" in text and "7 text tokens" in text
    assert "77 with one pass a sample, 31 with one pass an image: 60% saved" in text
    assert "4 in conflict" in text and "1 captions alone exceed" in text


def test_captions_that_do_not_fit_are_named() -> None:
    """Alone, not with those beside them: A needs 17 tokens, and B, of which one token is fed that A begins with, 15."""
    plan = PackPlan(10, True, budget=16)
    assert longer_than([A, B, C], plan, 16) == [A]
    assert longer_than([A, B, C], plan, 17) == longer_than([A, B, C], plan, None) == []
    assert "exceed --tokens_per_batch 16" in too_long_line([A], plan) and "of 1 (1/0), takes 17" in too_long_line(
        [A], plan
    )


class Model:
    """What a plan looks at."""

    packs = True
    name = "llava"
    set_packed: Any

    def __init__(self, device: str) -> None:
        import torch

        self.device = torch.device(device)


@pytest.mark.parametrize(
    ("device", "given", "images", "budget", "static"),
    [
        ("cpu", None, 4, CPU_TOKENS, False),
        ("cpu", 99, 4, 99, False),
        ("cuda", 300, 4, 300, True),
        ("cuda", None, 1, 128, True),
        ("cuda", None, 20, 384, True),
    ],
)
def test_size_of_packs(device: str, given: int | None, images: int, budget: int, static: bool) -> None:
    """As asked for; else small on the CPU, and on a GPU a step's worth in whole blocks (16 tokens an image here)."""
    plan = pack_plan(EngineArguments(tokens_per_batch=given), Model(device), [A, B, C], 10, images)  # type: ignore[arg-type]
    assert (plan.budget, plan.static) == (budget, static)
    assert plan.length(plan.units([C])) == (budget if static else 14)


def test_what_a_model_without_packs_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    """To compute its rows' layers again, as asked. To compile them is refused; that it packs nothing is said."""
    model, told = Model("cpu"), []
    model.name, model.set_packed = "auto", told.append
    rows = PackPlan(10, shares=False)
    for again in (False, True):
        switch_on(EngineArguments(gradient_checkpointing=again), model, rows)  # type: ignore[arg-type]
    assert "auto does not pack" in capsys.readouterr().err and [s.recompute for s in told] == [0, 1]
    with pytest.raises(ArgumentError, match="--compile is not for auto"):
        switch_on(EngineArguments(compile=True), model, rows)  # type: ignore[arg-type]


def test_what_the_decoder_is_told() -> None:
    """Compiled where packs have one length, unless said otherwise; checkpointing as asked."""
    model = Model("cpu")
    told = []
    model.set_packed = told.append
    for args in (EngineArguments(), EngineArguments(compile=False, gradient_checkpointing=True)):
        for static in (False, True):
            switch_on(args, model, PackPlan(10, True, 64, static))  # type: ignore[arg-type]
    assert [(s.compile, s.fast_connector, s.recompute) for s in told] == [
        (False, False, 0),
        (True, False, 0),
        (False, False, 1),
        (False, False, 1),
    ]


def test_a_budget_below_one_is_named() -> None:
    """With the flag."""
    with pytest.raises(ArgumentError, match="--tokens_per_batch is 0"):
        pack_plan(EngineArguments(tokens_per_batch=0), Model("cpu"), [A], 10, 1)  # type: ignore[arg-type]
