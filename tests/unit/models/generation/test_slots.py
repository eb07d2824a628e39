"""Slots: how many there are, who stands in them and what was there before changes no answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from common.errors import ResourceError
from common.models.base import CaptionModel
from common.models.generation import growing
from common.models.generation.asking import Asked
from common.models.generation.decoding import Decoding
from common.models.generation.tree import engine, memory
from common.models.generation.tree.replay import Flags
from common.models.generation.tree.shapes import TableShape
from common.models.text.ids import PromptIds
from tests.bench.bench_decode import LOADS, Bench
from tests.unit.models.conftest import Tiny

STOPS = frozenset(range(40, 44))


@pytest.fixture(scope="module")
def model(tiny: Callable[[str], Tiny]) -> CaptionModel:
    """A tiny LLaVA whose texts end anywhere."""
    model: CaptionModel = tiny("llava").load()
    head = model.lm.lm_head.weight.data
    head[40:44] = torch.randn(4, head.shape[1], generator=torch.Generator().manual_seed(0)) * 0.9
    model.stop_ids = STOPS
    return model


def questions(model: CaptionModel, counts: Sequence[int], seed: int) -> tuple[list[Asked], Tensor]:
    """So many prompts of unequal length about each image, and the images' features."""
    random = torch.Generator().manual_seed(seed)

    def ids(most: int) -> tuple[int, ...]:
        length = int(torch.randint(1, most, (), generator=random))
        return tuple(torch.randint(3, 300, (length,), generator=random).tolist())

    asked = [
        Asked(tuple(PromptIds((1, 2), (5, 6, *ids(6))) for _ in range(count)), tuple(f"{n}/{k}" for k in range(count)))
        for n, count in enumerate(counts)
    ]
    return asked, torch.randn(len(counts), 4, model.lm.config.hidden_size, generator=random)


def by_transformers(model: CaptionModel, asked: Sequence[Asked], features: Tensor, how: Decoding) -> dict[Any, Any]:
    """The answers to all prompts in one batch."""
    places = [(number, place) for number, one in enumerate(asked) for place in range(len(one.prompts))]
    prompts = [asked[number].prompts[place] for number, place in places]
    names = [asked[number].names[place] for number, place in places]
    rows = model.continue_batch([features[number] for number, _ in places], prompts, how, names)
    return dict(zip(places, rows, strict=True))


def by_trees(model: CaptionModel, asked: Sequence[Asked], features: Any, how: Decoding, most: int) -> dict[Any, Any]:
    """The same by trees; each prompt is answered once."""
    said = list(model.answers(asked, features, how, most))
    found = {(one.asked, one.place): one.ids for one in said}
    assert len(found) == len(said)
    return found


WAYS = (Decoding(1, 6), Decoding(3, 5), Decoding(1, 6, do_sample=True, temperature=1.2, top_p=0.9, seed=4))


@settings(max_examples=20, deadline=None)
@given(
    counts=st.lists(st.integers(1, 10), min_size=1, max_size=8),
    most=st.integers(1, 20),
    way=st.sampled_from(WAYS),
    unseen=st.sets(st.integers(0, 7), max_size=3),
    seed=st.integers(0, 10**6),
)
def test_any_number_of_slots_gives_the_answers_of_one_batch(
    model: CaptionModel, counts: list[int], most: int, way: Decoding, unseen: set[int], seed: int
) -> None:
    """More prompts of an image than branches, more images than slots, images that cannot be seen."""
    asked, features = questions(model, counts, seed)
    expected = by_transformers(model, asked, features, way)
    source = (None if number in unseen else feature for number, feature in enumerate(features))
    wanted = {key: ids for key, ids in expected.items() if key[0] not in unseen}
    assert by_trees(model, asked, source, way, most) == wanted


class LateFlags(Flags):
    """Known a step later, as on a GPU."""

    def add(self, step: int, over: Tensor) -> None:
        """Those of a step."""
        super().add(step, over.clone())


class AsOnCard(engine.TreeDecoder):
    """Goes as on a GPU, by plain operations: every slot in every step, as many trunks at a time, flags a step late."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.on_gpu, self.flags = True, LateFlags(lag=1)
        self.whole_step = lambda: self._compute(self.shape.slots, self.shape.depth)


@pytest.mark.parametrize("way", WAYS)
def test_slots_of_a_gpu_that_were_used_before(
    model: CaptionModel, way: Decoding, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slot that was given away is computed on, and holds the next tree as if it had been empty."""
    monkeypatch.setattr(growing, "TreeDecoder", AsOnCard)
    asked, features = questions(model, [1, 3, 2, 1, 5, 1, 2, 4, 1, 1, 2], 1)
    expected = by_transformers(model, asked, features, way)
    assert len({len(ids) for ids in expected.values()}) > 2
    for most in (3, 10, 30):
        assert by_trees(model, asked, features, way, most) == expected


def test_what_a_slot_held_is_not_read_again(model: CaptionModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """When everything has ended no slot of a GPU sees more than the token that it writes."""
    made: list[AsOnCard] = []

    def remembered(*args: Any) -> AsOnCard:
        made.append(AsOnCard(*args))
        return made[-1]

    monkeypatch.setattr(growing, "TreeDecoder", remembered)
    by_trees(model, *questions(model, [1, 2, 1, 1, 3], 2), Decoding(1, 5), 6)
    tables = made[0].tables
    assert not tables.trunk.any()
    assert not tables.at.any()
    assert int(tables.view(made[0].shape.slots, made[0].shape.depth).sum(-1).max()) <= 1


def test_in_sixteen_bits_ids_are_as_likely_as_transformers_say() -> None:
    """Log-probabilities of chosen ids are no further from float32's than those of transformers in bfloat16."""
    bench = Bench(LOADS["tiny"], torch.device("cpu"), [])
    with torch.no_grad():
        bench.check()
    for row in bench.rows:
        assert 0 < row["mean"] <= 1.2 * row["mean_of_transformers"]
        assert row["largest"] <= 1.5 * row["largest_of_transformers"]


# Memory


def written(root: Path, files: dict[str, str]) -> Path:
    """A root folder with these files."""
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


MEMINFO = {"proc/meminfo": "MemTotal: 4000 kB\nMemFree: 100 kB\nMemAvailable: 3000 kB\n"}


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, 3000 << 10),  # caches give way
        ({"proc/self/cgroup": "0::/\n"}, 3000 << 10),
        (
            {
                "proc/self/cgroup": "0::/job_7/step_0\n",  # the limit is the job's
                "sys/fs/cgroup/job_7/step_0/memory.max": "max\n",
                "sys/fs/cgroup/job_7/step_0/memory.current": "9\n",
                "sys/fs/cgroup/job_7/memory.max": "500000\n",
                "sys/fs/cgroup/job_7/memory.current": "400000\n",
                "sys/fs/cgroup/job_7/memory.stat": "anon 1\nfile 9\ninactive_file 30000\n",
            },
            130_000,
        ),
        (
            {
                "proc/self/cgroup": "5:cpu:/x\n4:memory:/docker/abc\n0::/\n",  # a container sees its own at the top
                "sys/fs/cgroup/memory/memory.limit_in_bytes": "500000\n",
                "sys/fs/cgroup/memory/memory.usage_in_bytes": "600000\n",
                "sys/fs/cgroup/memory/memory.stat": "inactive_file 5\ntotal_inactive_file 100100\n",
            },
            100,
        ),
    ],
)
def test_main_memory_is_what_can_still_be_had(tmp_path: Path, files: dict[str, str], expected: int) -> None:
    assert memory.main_memory(written(tmp_path, MEMINFO | files)) == expected


def test_main_memory_that_runs_out_is_halved_too(capsys: pytest.CaptureFixture[str]) -> None:
    """torch has no error of its own for it."""

    def make(shape: TableShape) -> Tensor:
        return torch.empty(shape.slots << 46, dtype=torch.uint8) if shape.slots > 1 else torch.empty(1)

    assert memory.make_fitting(TableShape(4, 1, 10, 10), 1 << 46, make).shape == (1,)
    assert "4 at a time do not fit into the memory; trying 2" in capsys.readouterr().err
    with pytest.raises(ResourceError, match="decoding one image needs 65536"):
        memory.make_fitting(
            TableShape(1, 1, 10, 10), 1 << 46, lambda shape: make(replace(shape, slots=shape.slots + 1))
        )

    def broken(_: TableShape) -> Tensor:
        raise RuntimeError("sizes do not match")

    with pytest.raises(RuntimeError, match="sizes do not match"):
        memory.make_fitting(TableShape(4, 1, 10, 10), 1, broken)
