"""Decoding by trees: is it right in 16 bits, and how fast are greedy texts, samples and beams at 7B?

    python -m tests.bench.bench_decode --size 7b       # one GPU
    python -m tests.bench.bench_decode --size tiny     # anywhere: tries the script itself

Random weights and random image features, so nothing ends by itself; where texts of unequal length are wanted, each
branch is ended at one of twenty lengths set by hand. Prints a line a row and writes decode_SIZE.json into the records.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from common.args import flag, parse
from common.cli import run
from common.files.storage import write_json
from common.manifest import git_commit, versions
from common.models.generation.asking import Asked
from common.models.generation.decoding import Decoding
from common.models.generation.growing import table_shape
from common.models.generation.plain import by_transformers
from common.models.generation.search.branches import Branches
from common.models.generation.tree import engine
from common.models.generation.tree.kernels import best_way, runs_fast
from common.models.generation.tree.llama import decoder_of
from common.models.generation.tree.shapes import TableShape
from common.models.generation.tree.trees import TreeSizes
from common.models.text.ids import PromptIds
from common.paths import ROOT
from tests.bench.loop.captions import BANDWIDTH, limited
from tests.bench.models.random_models import random_model

SPREAD_LENGTHS = (62, 71, 78, 84, 88, 92, 95, 98, 101, 104, 107, 110, 114, 118, 123, 129, 136, 145, 158, 181)
NO_STOPS: frozenset[int] = frozenset()


@dataclass
class BenchArguments:
    """What to measure."""

    size: str = flag("7b", "of the model", ("7b", "tiny"))
    target: str = flag("tests/bench/records", "folder of the record")


@dataclass(frozen=True)
class Load:
    """How much is measured."""

    scale: str
    middle: str
    image_tokens: int
    new_tokens: int
    images: int
    plain_images: int
    plain_tokens: int
    lengths: tuple[int, ...]


LOADS = {
    "7b": Load("7b", "middle", 576, 160, 2, 16, 64, SPREAD_LENGTHS),
    "tiny": Load("tiny", "tiny", 4, 12, 2, 4, 6, (3, 5, 8, 12)),
}


class Recording(Branches):
    """Branches that keep the log-probability of each id that they choose."""

    def __init__(self, size: tuple[int, int], decoding: Decoding, stop_ids: Collection[int], device: torch.device):
        super().__init__(size, decoding, stop_ids, device)
        self.chosen = torch.zeros(self.written.shape, device=device)

    def choose(self, logits: Tensor, live: int) -> tuple[Tensor, None]:
        """As before, and remembered."""
        step = self.count[:live].clamp_max(self.decoding.max_new_tokens - 1)[..., None].clone()
        was_over = self.over[:live].clone()
        ids, _ = super().choose(logits, live)
        said = logits.log_softmax(-1).gather(1, ids.flatten()[:, None]).view(*ids.shape, 1)
        said = torch.where(was_over[..., None], self.chosen[:live].gather(2, step), said)
        self.chosen[:live].scatter_(2, step, said)
        return ids, None


@contextmanager
def branches_are(kind: type[Branches]) -> Iterator[None]:
    """Let the engine grow branches of another kind."""
    engine.Branches = kind  # type: ignore[misc]
    try:
        yield
    finally:
        engine.Branches = Branches  # type: ignore[misc]


def wait(device: torch.device) -> None:
    """Until the device has done everything."""
    if device.type == "cuda":
        torch.cuda.synchronize()


def timed(device: torch.device, work: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds, and what came out."""
    wait(device)
    start = time.perf_counter()
    out = work()
    wait(device)
    return time.perf_counter() - start, out


@dataclass
class Bench:
    """One model, and what was measured of it."""

    load: Load
    device: torch.device
    rows: list[dict[str, Any]]

    def note(self, what: str, **numbers: Any) -> None:
        """Print a row and keep it."""
        row = {"what": what, **{k: round(v, 4) if isinstance(v, float) else v for k, v in numbers.items()}}
        self.rows.append(row)
        print(row, flush=True)

    # Right?

    def check(self) -> None:
        """Log-probabilities of chosen ids, in 16 bits by trees, against float32 on the same ids."""
        model = random_model("llava", self.device, torch.bfloat16, self.load.middle)
        exact = random_model("llava", self.device, torch.float32, self.load.middle)
        exact.load_state_dict(model.state_dict())
        model.stop_ids = NO_STOPS
        prompts, features = self.questions(model, 12)
        with branches_are(Recording):
            decoder = decoder_of(model.lm.model, model.lm.lm_head, join=True, fast=runs_fast(model.lm.model))
            for way in dict.fromkeys(("plain", best_way(self.device, torch.bfloat16, decoder.head_size, 1))):
                errors, plain = self._errors(model, exact, decoder, prompts, features, way)
                self.note(
                    f"log-probability, bfloat16 {way}", largest=max(errors), mean=sum(errors) / len(errors),
                    largest_of_transformers=max(plain), mean_of_transformers=sum(plain) / len(plain),
                )  # fmt: skip

    def _errors(
        self, model: Any, exact: Any, decoder: Any, prompts: list[PromptIds], features: Tensor, way: Any
    ) -> tuple[list[float], list[float]]:
        decoding = Decoding(1, 24)
        root = decoder.embed(torch.tensor([1, 2], device=self.device))
        shape = TableShape(4, 1, 2 + features.shape[1] + 40, decoding.max_new_tokens + 1)
        grown = engine.TreeDecoder(decoder, shape, decoding, NO_STOPS, root, way)
        errors, plain = [], []
        for number, (prompt, feature) in enumerate(zip(prompts, features, strict=True)):
            words = decoder.embed(torch.tensor(prompt.after[:-1], device=self.device))
            tree = engine.Tree(0, torch.cat([feature, words]), ((prompt.after[-1],),), (str(number),))
            (answer,) = grown.run([tree])
            said = grown.search.chosen[0, 0]  # type: ignore[union-attr]
            ids = torch.tensor([1, 2, *prompt.after, *answer.ids], device=self.device)
            for which, found in ((exact, errors), (model, plain)):
                words = which.lm.get_input_embeddings()(ids)
                row = torch.cat([words[:2], feature.to(words.dtype), words[2:]])
                logits = which.lm(inputs_embeds=row[None]).logits[0, -len(answer.ids) - 1 : -1].float()
                logs = logits.log_softmax(-1).gather(1, ids[-len(answer.ids) :, None])[:, 0]
                if which is exact:
                    right = logs
                    found += (said - right).abs().tolist()
                else:
                    found += (logs - right).abs().tolist()
        return errors, plain

    def questions(self, model: Any, count: int) -> tuple[list[PromptIds], Tensor]:
        """Prompts of unequal length, and random features."""
        hidden = model.lm.config.hidden_size
        features = torch.randn(count, self.load.image_tokens, hidden, device=self.device) / 64
        prompts = [PromptIds((1, 2), tuple(range(300, 305 + 3 * (row % 4)))) for row in range(count)]
        return prompts, features.to(model.compute_dtype)

    # Fast?

    def speed(self) -> None:
        """Greedy, five samples, five beams, and the same by transformers."""
        model = random_model("llava", self.device, torch.bfloat16, self.load.scale)
        model.stop_ids = NO_STOPS
        steps = self.load.new_tokens
        sampled = Decoding(1, steps, do_sample=True, seed=0)
        for what, decoding, branches in (
            ("greedy", Decoding(1, steps), 1),
            ("samples5", sampled, 5),
            ("beams5", Decoding(5, steps), 1),
        ):
            self.step(model, what, decoding, branches)
            self.whole(model, what, decoding, branches)
        self.refilled(model)
        self.by_transformers(model)

    def shape(self, model: Any, decoding: Decoding, branches: int) -> TableShape:
        """Tables as the scripts would have them."""
        decoder = decoder_of(model.lm.model, model.lm.lm_head, join=False)
        sizes = TreeSizes(35 + self.load.image_tokens + 20, 1, branches)
        return table_shape(decoder, sizes, decoding, 10**6, None, torch.bfloat16)

    def step(self, model: Any, what: str, decoding: Decoding, branches: int) -> None:
        """Steps alone, with pools half full and full."""
        decoder = decoder_of(model.lm.model, model.lm.lm_head, join=True, fast=runs_fast(model.lm.model))
        shape = self.shape(model, decoding, branches)
        root = torch.zeros(35, decoder.hidden, dtype=torch.bfloat16, device=self.device)
        with torch.inference_mode():
            grown = engine.TreeDecoder(decoder, shape, decoding, NO_STOPS, root)
            grown.tables.trunk.fill_(shape.trunk)
            one = grown.whole_step or (lambda: grown._compute(shape.slots, shape.depth))
            for full in (0.5, 1.0):
                depth = int(full * (shape.depth - 1))
                grown.tables.at.fill_(depth)
                one()
                seconds, _ = timed(self.device, lambda: [one() for _ in range(10)])
                self._note_step(model, decoder, shape, f"{what}, steps, pool {full:.0%}", seconds / 10, depth)
        self.free()

    def _note_step(self, model: Any, decoder: Any, shape: TableShape, what: str, seconds: float, depth: int) -> None:
        weights = sum(p.numel() for p in model.lm.parameters()) - model.lm.get_input_embeddings().weight.numel()
        places = shape.trunk + shape.branches * (depth + 1)
        cache = 2 * len(decoder.layers) * decoder.key_heads * decoder.head_size * places * shape.slots
        moved = 2 * (weights + cache)
        card = torch.cuda.get_device_name() if self.device.type == "cuda" else "cpu"
        self.note(
            what, slots=shape.slots, rows=shape.slots * shape.branches, ms=seconds * 1e3,
            tokens_s=shape.slots * shape.branches / seconds, slots_s=shape.slots / seconds, gb_s=moved / seconds / 1e9,
            share=moved / seconds / BANDWIDTH.get(card, float("inf")),
        )  # fmt: skip

    def whole(self, model: Any, what: str, decoding: Decoding, branches: int, lengths: Sequence[int] = ()) -> float:
        """From features to ids, trunks included; texts a second counted by their tokens."""
        shape = self.shape(model, decoding, branches)
        count = shape.slots * self.load.images
        prompt = PromptIds(tuple(range(300, 335)), tuple(range(400, 420)))
        features = torch.randn(8, self.load.image_tokens, model.lm.config.hidden_size, device=self.device) / 64
        features = features.to(torch.bfloat16)
        wanted = lengths or (decoding.max_new_tokens,)
        asked = [
            Asked((prompt,) * branches, tuple(str(wanted[(n * 7 + b) % len(wanted)]) for b in range(branches)))
            for n in range(count)
        ]

        def grow() -> int:
            source = (features[n % 8] for n in range(count))
            return sum(len(said.ids) for said in model.answers(asked, source, decoding))

        seconds, tokens = timed(self.device, grow)
        self.note(
            f"{what}, whole", images=count, slots=shape.slots, seconds=seconds, tokens=tokens,
            tokens_s=tokens / seconds, images_s=count / seconds,
        )  # fmt: skip
        self.free()
        return tokens / seconds

    def refilled(self, model: Any) -> None:
        """Spread lengths against equal ones of the same mean."""
        drawn = self.load.lengths
        mean = round(sum(drawn) / len(drawn))
        decoding = Decoding(1, max(drawn))
        with branches_are(limited(Branches, int)):
            equal = self.whole(model, "greedy, equal lengths", decoding, 1, (mean,))
            unequal = self.whole(model, "greedy, drawn lengths", decoding, 1, drawn)
        self.note("refilled slots", loss=1 - unequal / equal)

    def by_transformers(self, model: Any) -> None:
        """The same model's own generate, batched."""
        hidden, images = model.lm.config.hidden_size, self.load.plain_images
        embeds = torch.randn(images, 55 + self.load.image_tokens, hidden, device=self.device) / 64
        embeds = embeds.to(torch.bfloat16)
        inputs = {"inputs_embeds": embeds, "attention_mask": torch.ones(embeds.shape[:2], device=self.device).long()}
        for what, beams in (("greedy", 1), ("beams5", 5)):
            decoding = Decoding(beams, self.load.plain_tokens)
            with torch.no_grad():
                seconds, ids = timed(
                    self.device, lambda d=decoding: by_transformers(model.lm, inputs, d, NO_STOPS, (), static=False)
                )
            tokens = sum(map(len, ids))
            self.note(f"{what}, transformers", images=images, seconds=seconds, tokens=tokens, tokens_s=tokens / seconds)

    def free(self) -> None:
        """Give memory back."""
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def rates(self) -> dict[str, float]:
        """The numbers that the loop is reckoned from."""
        found = {row["what"]: row for row in self.rows}
        beams = found["beams5, steps, pool 100%"]["slots_s"]
        return {
            "greedy_tokens_s": found["greedy, steps, pool 100%"]["tokens_s"],
            "samples5_tokens_s": found["samples5, steps, pool 100%"]["tokens_s"],
            "beam5_tokens_s": beams,
            "greedy_whole_tokens_s": found["greedy, whole"]["tokens_s"],
            "samples5_whole_tokens_s": found["samples5, whole"]["tokens_s"],
            "beam5_whole_tokens_s": found["beams5, whole"]["tokens_s"],
            "beam5_over_transformers": found["beams5, whole"]["tokens_s"] / found["beams5, transformers"]["tokens_s"],
            "refilled_loss": found["refilled slots"]["loss"],
        }


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and write the record."""
    (args,) = parse((BenchArguments,), "Speed of decoding by trees", argv)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    bench = Bench(replace(LOADS[args.size]), device, [])
    path = ROOT / args.target if not Path(args.target).is_absolute() else Path(args.target)
    record = {
        "card": torch.cuda.get_device_name() if device.type == "cuda" else "cpu",
        "versions": versions(),
        "date": datetime.now(UTC).date().isoformat(),
        "commit": os.environ.get("EFUF_COMMIT") or git_commit(),
        "load": asdict(bench.load),
        "rows": bench.rows,
    }
    with torch.no_grad():
        bench.check()
        try:
            bench.speed()
            record["rates"] = bench.rates()
        finally:
            write_json(path / f"decode_{args.size}.json", record)


if __name__ == "__main__":
    run(main)
