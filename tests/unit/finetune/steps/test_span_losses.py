"""The forward pass over spans: one pass of a caption equals its samples run one by one, on a random LLaVA."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from common.files.images import ImageFolder
from common.models import load_model
from common.prompts import TRAIN
from common.thresholds import Thresholds
from finetune.corpus.grouping import filter_samples, group
from finetune.corpus.items import encode_items
from finetune.corpus.records import KINDS, NEG, POS, SENT, CaptionItem, Span, map_spans, one_by_one
from finetune.corpus.samples import read_samples
from finetune.features.tower_cache import TowerCache
from finetune.objectives.loss import objective
from finetune.run.packed_step import PackedStep
from finetune.steps.batch import span_index
from finetune.steps.collate import Collator
from finetune.steps.packs import PackPlan
from finetune.steps.reference import measure, measured_once, with_references
from finetune.steps.span_losses import SpanLosses
from tests.training_world import World, make_world

WEIGHTS = dict.fromkeys(KINDS, 1.0) | {NEG: 0.3, SENT: 0.2}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Four captions."""
    return make_world(tmp_path_factory.mktemp("spans") / "world", captions=4)


@pytest.fixture
def module(world: World) -> SpanLosses:
    """A fresh model, connector trained, ascent."""
    model = load_model("llava", world.model, vit_path=world.model / "tower")
    model.set_trainable("connector")
    return SpanLosses(model, objective("efuf", 0.1))


@pytest.fixture
def collator(module: SpanLosses, world: World) -> Collator:
    """Over the world's images, everything in one pack."""
    plan = PackPlan(image_tokens=4, shares=module.caption_model.packs)
    return Collator(module.caption_model, ImageFolder(world.images), plan)


@pytest.fixture
def items(module: SpanLosses, world: World) -> list[CaptionItem]:
    """Captions with a positive, a negative and the sentence, of unequal weights."""
    samples = read_samples(world.pos_neg, world.sentences)
    model = module.caption_model
    captions = group(filter_samples(samples.spans, samples.sentences, Thresholds()))
    made, _ = encode_items(captions, model, model.encode_prompt(model.format_prompt(TRAIN)))
    return map_spans(made, lambda span: replace(span, weight=0.1 * span.score))


def _loss_and_gradient(module: SpanLosses, collator: Collator, groups: list[list[CaptionItem]]) -> tuple[float, Tensor]:
    """Sum over the packs of the groups, each a forward pass of its own."""
    module.zero_grad()
    total = 0.0
    for pack in [pack for items in groups for pack in collator(items).packs]:
        loss = module(pack).total(WEIGHTS)
        loss.backward()
        total += loss.item()
    return total, torch.cat([p.grad.flatten() for p in module.parameters() if p.grad is not None])


@pytest.mark.parametrize("name", ["efuf", "unlikelihood", "npo"])
def test_spans_of_one_pass_equal_spans_run_separately(
    module: SpanLosses, collator: Collator, items: list[CaptionItem], name: str
) -> None:
    """Loss and connector gradient, float32, rtol 1e-5: a caption with several spans, and the batch of all captions."""
    module.unlearn = objective(name, 0.5)
    for chosen in (items[:1], items):
        assert all({s.kind for s in item.spans} == {POS, NEG, SENT} for item in chosen)
        shared, gradient = _loss_and_gradient(module, collator, [chosen])
        separate, expected = _loss_and_gradient(module, collator, [[single] for single in one_by_one(chosen)])
        assert shared == pytest.approx(separate, rel=1e-5)
        torch.testing.assert_close(gradient, expected, rtol=1e-5, atol=1e-5 * expected.abs().max().item())
        assert gradient.abs().max() > 1e-3


def _hard(items: list[CaptionItem]) -> list[CaptionItem]:
    """Spans at the first and at the last token, branches of one token, an image without negatives, several an image."""
    first, second, third, fourth = items
    ids = first.ids
    edges = (
        Span(POS, 0, 1, 30.0, 0.7),
        Span(NEG, len(ids) - 1, len(ids), 20.0, 1.1),
        Span(SENT, 0, len(ids), 30.0, 0.4),
    )
    positive = tuple(span for span in second.spans if span.kind != NEG)
    single = replace(third, key="single", ids=third.ids[3:4], spans=(Span(NEG, 0, 1, 20.0, 0.9),))
    last = replace(first, key="last", ids=ids[2:9], spans=(Span(POS, 6, 7, 30.0, 0.3), Span(NEG, 1, 4, 20.0, 0.6)))
    return [replace(first, spans=edges), replace(second, spans=positive), third, single, last, fourth]


@pytest.mark.parametrize("name", ["efuf", "unlikelihood", "npo"])
@pytest.mark.parametrize("budget", [None, 120, 200])
def test_packs_equal_one_row_a_sample(
    module: SpanLosses, collator: Collator, items: list[CaptionItem], name: str, budget: int | None
) -> None:
    """Loss and connector gradient of whole images in packs, against the plain path with a row for each sample."""
    module.unlearn = objective(name, 0.5)
    hard = _hard(items)
    packed = replace(collator, plan=PackPlan(4, shares=True, budget=budget))
    assert (len(packed(hard).packs) == 1) == (budget is None)
    loss, gradient = _loss_and_gradient(module, packed, [hard])
    rows = replace(collator, plan=PackPlan(4, shares=False))
    plain, expected = _loss_and_gradient(module, rows, [[single] for single in one_by_one(hard)])
    assert loss == pytest.approx(plain, rel=1e-5)
    torch.testing.assert_close(gradient, expected, rtol=1e-5, atol=1e-5 * expected.abs().max().item())


def test_packs_side_by_side_give_the_same_bytes(
    module: SpanLosses, collator: Collator, items: list[CaptionItem]
) -> None:
    """Gradients of two lanes are those of one, added to what is there from an earlier batch, and so are the losses."""
    batch = replace(collator, plan=PackPlan(4, shares=True, budget=120))(items)
    assert len(batch.packs) > 2

    def stepped(lanes: int) -> list[Tensor]:
        module.zero_grad()
        step = PackedStep(module, collator, lambda loss: loss.backward(), lanes)
        results = [step.add(batch, lambda pack: ((p := module(pack)).total(WEIGHTS), p)) for _ in range(2)]
        gradients = [p.grad.clone() for p in module.parameters() if p.grad is not None]
        return [*gradients, *(value for result in results for value in (result.loss, result.sums))]

    one, two = stepped(1), stepped(2)
    assert len(one) > 4 and all(torch.equal(a, b) for a, b in zip(one, two, strict=True))


def test_rows_of_a_model_that_does_not_pack_are_cut_by_the_same_budget(
    module: SpanLosses, collator: Collator, items: list[CaptionItem]
) -> None:
    """One row a caption; loss and gradient stay."""
    whole, expected = _loss_and_gradient(module, replace(collator, plan=PackPlan(4, shares=False)), [items])
    cut = replace(collator, plan=PackPlan(4, shares=False, budget=250))
    assert len(cut(items).packs) == 2
    loss, gradient = _loss_and_gradient(module, cut, [items])
    assert loss == pytest.approx(whole, rel=1e-5)
    torch.testing.assert_close(gradient, expected, rtol=1e-5, atol=1e-5 * expected.abs().max().item())


def test_losses_are_those_of_the_models_plain_path(
    module: SpanLosses, collator: Collator, items: list[CaptionItem], world: World
) -> None:
    """The sentence's loss equals `sample_losses` of the whole caption, which tokenises text and target as published."""
    samples = read_samples(world.pos_neg, world.sentences)
    model, sentence = module.caption_model, samples.sentences[0]
    image = ImageFolder(world.images).open(sentence.image)
    plain = model.sample_losses([image], [model.format_prompt(TRAIN)], [sentence.sentence], [True])
    assert model.encode_target(sentence.sentence, True) == list(items[0].ids)
    (pack,) = collator(items[:1]).packs
    parts = module(pack)
    assert parts.means[SENT].item() == pytest.approx(plain.item(), rel=1e-5)


def test_t2_end_symbols_in_a_batch_are_one_a_sentence(items: list[CaptionItem], module: SpanLosses) -> None:
    """With the real tokeniser."""
    assert [item.ids.count(module.caption_model.eos_id) for item in items] == [1] * len(items)


def test_an_image_is_encoded_once_however_many_rows_it_has(collator: Collator, items: list[CaptionItem]) -> None:
    """Three rows of one image and one of another: two images."""
    for plan in (collator.plan, replace(collator.plan, shares=False)):
        (pack,) = replace(collator, plan=plan)([*one_by_one(items[:1]), items[1]]).packs
        assert pack.pixels.shape[0] == 2 and len(pack.items) == 4


def test_no_gradient_reaches_the_frozen_parts(module: SpanLosses, collator: Collator, items: list[CaptionItem]) -> None:
    """Only the connector is trained; the tower has no graph."""
    _loss_and_gradient(module, collator, [items])
    assert {name.split(".")[1] for name, p in module.named_parameters() if p.grad is not None} == {"connector"}


def test_npo_starts_with_the_gradient_of_ascent(
    module: SpanLosses, collator: Collator, items: list[CaptionItem]
) -> None:
    """With the reference measured on the untrained model, log-ratios are 0 and the force is 1."""
    referred = with_references(items, measure(module, collator, items))
    _, ascent = _loss_and_gradient(module, collator, [referred])
    module.unlearn = objective("npo", 0.1)
    _, npo = _loss_and_gradient(module, collator, [referred])
    torch.testing.assert_close(npo, ascent, rtol=1e-4, atol=1e-5 * ascent.abs().max().item())


def test_reference_losses_are_measured_once(
    module: SpanLosses, collator: Collator, items: list[CaptionItem], tmp_path: Path
) -> None:
    """A continued run compares with the model before training, not with the one that it continues."""
    first = measured_once(tmp_path / "r.json", module, collator, items)
    with torch.no_grad():
        next(p for p in module.parameters() if p.requires_grad).add_(1.0)
    assert measured_once(tmp_path / "r.json", module, collator, items) == first
    assert measure(module, collator, items) != first


def test_span_index_lists_rows_in_order(items: list[CaptionItem]) -> None:
    """Row numbers and weights go with the spans."""
    index = span_index(items[:2])
    assert index.row.tolist() == [0, 0, 0, 1, 1, 1]
    assert index.weight.tolist() == pytest.approx([s.weight for item in items[:2] for s in item.spans])


def test_kept_tower_outputs_change_no_loss(module: SpanLosses, collator: Collator, items: list[CaptionItem]) -> None:
    """And an image is opened once; beyond the limit it is encoded again, to the same bits."""
    cache = TowerCache(module.caption_model, collator.images, limit=1 << 20)
    cached = replace(collator, cache=cache)
    plain, gradient = _loss_and_gradient(module, collator, [items])
    before = collator.images.opened
    kept = [_loss_and_gradient(module, cached, [items]) for _ in range(2)]
    assert collator.images.opened - before == len(cache.kept) == 4
    assert kept[0][0] == pytest.approx(plain, rel=1e-5)
    torch.testing.assert_close(kept[0][1], gradient, rtol=1e-4, atol=1e-5 * gradient.abs().max().item())
    full = replace(collator, cache=TowerCache(module.caption_model, collator.images, limit=0))
    again = _loss_and_gradient(module, full, [items])
    assert full.cache is not None and full.cache.kept == {}
    assert kept[0][0] == kept[1][0] == again[0] and torch.equal(kept[1][1], again[1])
