"""What probes cost, said before the run: in tokens of training, which take as long on the same device.

Both grow with the size of the decoder alike, so their ratio does not depend on it. On a GPU: one H100 trains a 7B model
on 20,000 tokens a second (`tests/bench/records/train_7b.json`); it takes 48 ms an image for one caption and 76 ms for
five (`decode_7b.json`); a core extracts the objects of 147 captions a second (`loop_7b.json`); a second more is allowed
for tables, graphs and copies of weights. On the CPU: processor time of the mini model, 2026-11-26
(40 images: 3.0 s for a caption of each, 8.2 s for four, where training takes 1,560 tokens a second).
"""

from __future__ import annotations

from dataclasses import dataclass

WANTED = 0.05  # share of the run that probes may cost, where their number is not given
FEWEST, MOST = 5, 12  # parts of a run that probes part, where their number is not given


@dataclass(frozen=True)
class Rates:
    """Training tokens that go by while a probe begins, while it sees an image, and for each caption of it."""

    probe: float
    image: float
    caption: float


RATES = {"cuda": Rates(20_000, 820, 280), "cpu": Rates(500, 40, 65)}


@dataclass(frozen=True)
class ProbeCost:
    """Of the probes of one run.

    Args:
        device: `cuda` or `cpu`.
        images: of a probe; each: captions of one.
        tokens: of the whole training.
        processes: that share both.
    """

    device: str
    images: int
    each: int
    tokens: float
    processes: int = 1

    def share(self, probes: int) -> float:
        """Of the training's time."""
        rates = RATES[self.device]
        images = -(-self.images // self.processes)
        one = rates.probe + images * (rates.image + self.each * rates.caption)
        return probes * one / max(1.0, self.tokens / self.processes)

    def steps_between(self, steps: int) -> int:
        """Where nothing is asked for: a twelfth of the run, or more of it where probes would cost more than wanted."""
        parts = next((n for n in range(MOST, FEWEST, -1) if self.share(n + 1) <= WANTED), FEWEST)
        return max(1, -(-steps // parts))

    def line(self, steps: int, between: int) -> str:
        """What is said before the first step."""
        probes = 1 + -(-steps // between)
        share = self.share(probes)
        advice = "; raise --probe_steps or lower --probe_images for less" if share > WANTED else ""
        when = f"before the first step, every {between} step{'s' * (between > 1)} and after the last"
        return (
            f"probe: {self.each} captions of {self.images} validation images {when}: {probes} probes, "
            f"about {float(f'{100 * share:.2g}'):g} % of the time of the training{advice}"
        )
