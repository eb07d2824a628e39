"""Arguments of the probe, for `finetune/train.py`."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from common.args import flag
from common.errors import ArgumentError
from common.objects.extractors import EXTRACTORS


@dataclass
class ProbeArguments:
    """The probe: what the model now says of validation images. There is none without --probe_steps or --keep best."""

    keep: str = flag(
        "last", "last: the weights of the last step; best: those of the best probe, which may end the run early",
        ("last", "best"),
    )  # fmt: skip
    probe_steps: int | None = flag(
        None, "steps between two probes; with --keep best the default is a twelfth of the run, or more for less cost",
        least=1,
    )  # fmt: skip
    probe_images: int = flag(40, "validation images that a probe captions, at most", least=1)
    probe_captions: int = flag(
        4, "captions of each; several are sampled, as captions are mined, a single one is greedy", least=1
    )
    probe_max_object_loss: float = flag(
        0.12, "of the start's grounded objects a caption, the share that the best may lack", least=0, most=1
    )
    probe_max_word_loss: float = flag(0.3, "of the start's words a caption, the same", least=0, most=1)
    probe_max_repetition: float = flag(
        0.1, "by how much more captions than at the start may name something twice (share)", least=0, most=1
    )
    probe_max_positive_rise: float = flag(
        0.02, "by what share the loss of the validation images' positive spans may rise above the start's", least=0
    )
    probe_patience: int = flag(3, "probes without a lower share after which --keep best ends the run", least=1)
    probe_retreats: int = flag(
        4, "how often a broken bound sends the run back to the best weights, with half of the rate or a tenth "
        "of the negatives' weight", least=0,
    )  # fmt: skip
    clip_model: str | None = flag(None, "scorer of the probe; default: that of the scores, as noted beside the spans")
    clip_pretrained: str | None = flag(None, "its weights, for a named model")
    extractor: str | None = flag(None, "extractor of the probe; default: as noted beside the spans", EXTRACTORS)
    extractor_model: str | None = flag(None, "its language model, for --extractor llm")

    @property
    def is_on(self) -> bool:
        """Whether there are probes."""
        return self.probe_steps is not None or self.keep == "best"

    def check(self) -> None:
        """Raise ArgumentError for a flag of the probe where there is none, or of --keep best without it."""
        given = [f.name for f in fields(self) if f.name.startswith("probe_") and getattr(self, f.name) != f.default]
        for name in given:  # scorer and extractor may be given for all steps at once, in a file
            if not self.is_on:
                raise ArgumentError(f"--{name} is of the probe, and there is none; add --probe_steps N, or --keep best")
            if self.keep != "best" and name in BEST_ONLY:
                raise ArgumentError(f"--{name} says which probe is the best; add --keep best, or leave it out")

    def settings(self) -> dict[str, Any]:
        """What a continued run must have in common with the one that began it."""
        more = ("probe_images", "probe_captions", *BEST_ONLY) if self.is_on else ()
        names = ("keep", "probe_steps", *more)
        return {name: getattr(self, name) for name in names}


BEST_ONLY = (
    "probe_max_object_loss", "probe_max_word_loss", "probe_max_repetition", "probe_max_positive_rise", "probe_patience",
    "probe_retreats",
)  # fmt: skip
