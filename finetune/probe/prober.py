"""One probe: captions by the model as it is now, their objects, and scores; the same on any number of processes.

Every process captions its share of the images. A caption is made by itself, and a sampled one depends on the run's
seed, its image and its number alone, so that probes differ by what the model has learnt and not by the draw. The first
process extracts and scores all of them, as `insight/object.py` and `insight/clip.py` would, and tells the others.

Captions are sampled, as mined ones are: the scores' threshold is a rank among mentions of sampled captions. In greedy
ones few are below it, too few for probes to differ by more than chance (`finetune/README.md`).
"""

from __future__ import annotations

import gc
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING, Any

import torch

from common.captioning.asking import Request, ask
from common.errors import DataError
from common.files.images import ImageFolder
from common.files.records import CaptionObjects
from common.processes import this_process
from common.prompts import TRAIN
from common.relevance.noise import noisy
from common.relevance.scoring import RelevanceJob, without_unscorable
from common.thresholds import Thresholds
from finetune.probe.instruments import Instruments
from finetune.probe.measure import Measure, measure

if TYPE_CHECKING:
    from common.models.base import CaptionModel
    from common.objects.extractors import ObjectExtractor

MOST_TOKENS = 200  # of a caption


def chosen_images(valid: Sequence[str], most: int, seed: int) -> list[str]:
    """Validation images that are captioned, by the run's seed alone. Raises DataError if there is none."""
    if not valid:
        raise DataError("the probe captions validation images, and there are none; raise --valid_data_split above 0")
    names = sorted(valid)
    return names if len(names) <= most else sorted(random.Random(seed).sample(names, most))


@dataclass
class Prober:
    """What all probes of a run have in common.

    Args:
        model: that is trained.
        images: as the model sees them; whole: as the scorer does.
        names: of the images that are captioned.
        each: captions of an image; several are sampled. seed: of the samples.
        instruments: extractor and scorer; they are loaded by the first process alone.
        cut: thresholds.
        dtype: of the scorer.
    """

    model: CaptionModel
    images: ImageFolder
    whole: ImageFolder
    names: Sequence[str]
    each: int
    seed: int
    instruments: Instruments
    cut: Thresholds
    dtype: str
    seconds: list[float] = field(default_factory=list)
    _loaded: tuple[ObjectExtractor, RelevanceJob] | None = None

    def load(self) -> None:
        """Load extractor and scorer, where this process needs them, so that a wrong one is known before training."""
        if self._loaded is None and this_process().is_first:
            with _untouched_generators(self.model.device):
                device = str(self.model.device)
                extractor, scorer = self.instruments.load(device, self.dtype)
            job = RelevanceJob(scorer, self.whole, self.instruments.scorer.settings, device=device, workers=0)
            self._loaded = extractor, job

    def measure(self, step: int) -> Measure:
        """The figures of the model as it is now; all processes call it, and get the same. Training notices nothing."""
        begun = time.perf_counter()
        self.load()
        with _untouched_generators(self.model.device), torch.no_grad():
            self.model.eval()
            captions = self._gathered(self._captions())
            found = _from_first([measure(step, self._judged(captions), self.cut)] if self._loaded else [None])
        _give_memory_back()
        self.seconds.append(time.perf_counter() - begun)
        return found

    @property
    def decoding(self) -> dict[str, Any]:
        """Greedy, or samples of the model's own distribution."""
        greedy = {"num_beams": 1, "max_new_tokens": MOST_TOKENS}
        return greedy if self.each == 1 else {**greedy, "do_sample": True, "seed": self.seed}

    def _captions(self) -> list[tuple[str, list[str]]]:
        """(image, captions) of this process's share."""
        me = this_process()
        text = self.model.format_prompt(TRAIN)
        ours = self.names[me.rank :: me.count]
        requests = [Request(n, (text,) * self.each, tuple(f"{n}/{i}" for i in range(self.each))) for n in ours]
        said = ask(self.model, self.images, requests, self.decoding, None)
        found = []
        for request, texts in zip(requests, said, strict=True):
            if texts is None:
                raise DataError(f"{self.images.lost[request.image]}; it could be read before")
            found.append((request.image, texts))
        return found

    def _gathered(self, share: list[tuple[str, list[str]]]) -> dict[str, list[str]]:
        """image -> captions of all processes, in the order of the images."""
        from accelerate.utils import gather_object

        every = dict(gather_object(share))
        return {name: every[name] for name in self.names}

    def _judged(self, captions: dict[str, list[str]]) -> list[CaptionObjects]:
        """Captions with scored objects; by the first process."""
        assert self._loaded is not None
        extractor, job = self._loaded
        mentions = extractor.extract(list(chain.from_iterable(captions.values())))
        records = [
            CaptionObjects(name, number, text, next(mentions), sample)
            for number, (name, texts) in enumerate(captions.items())
            for sample, text in enumerate(texts)
        ]
        scored = job.score(without_unscorable(records)[0])
        noted = self.instruments.scorer
        return noisy(scored, noted.noise, noted.noise_seed) if noted.noise else scored


def _from_first(values: list[Any]) -> Any:
    """The only element of the first process's list, in every process."""
    from accelerate.utils import broadcast_object_list

    return broadcast_object_list(values)[0]


def _untouched_generators(device: torch.device) -> Any:
    """Random generators are afterwards as they were."""
    return torch.random.fork_rng([device] if device.type == "cuda" else [])


def _give_memory_back() -> None:
    """What decoding held would be missing in training, in large pieces."""
    if torch.cuda.is_available():
        gc.collect()
        torch.cuda.empty_cache()
