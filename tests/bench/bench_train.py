"""Speed and memory of a training step: the published shape and this engine, measured in one run on one card.

    python -m tests.bench.bench_train --size mini      # anywhere, with the bundled checkpoint
    python -m tests.bench.bench_train --size 7b        # on a GPU: LLaVA-1.5's shape with random weights, bfloat16

A step is a whole one: vision tower, connector, decoder, losses, backward pass, AdamW on the connector. TFLOP/s are
model FLOPs, 4 P T: P the decoder's linear layers and head, T the tokens run, padding aside; attention, tower and
connector are not counted, and the last layer as if it ran in full. Writes tests/bench/records/train_SIZE.json; what was
expected, and why it came otherwise, is in tests/bench/NOTES.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from common.args import flag, parse
from common.cli import run
from common.errors import ArgumentError, DataError
from common.paths import ROOT
from tests.bench.number_lists import whole_numbers

RECORDS = ROOT / "tests" / "bench" / "records"


@dataclass
class TrainBenchArguments:
    """What to measure."""

    size: str = flag("mini", "mini: the bundled model; 7b: LLaVA-1.5's shape", ("mini", "7b"))
    captions_per_image: str = flag("1,5,12", "which, separated by commas")
    images: str = flag("auto", "images in a step; auto: as many as fit into --tokens_per_batch")
    steps: int = flag(5, "timed steps of each row; the median is taken")
    tokens_per_batch: int | None = flag(None, "most tokens of a pack; default 16896, for the mini model 1024")
    decoder_dtype: str = flag("auto", "fp8: also measure with 8-bit products", ("auto", "fp8"))
    load_in_4bit: bool = flag(False, "also measure memory with 4-bit weights; needs bitsandbytes")
    stats: list[str] = flag([], "pos_neg.json and sentences.json, whose lengths and spans are used")  # noqa: RUF009
    memory: bool = flag(True, "measure the memory of one image at a time")
    ablate: bool = flag(True, "measure one caption an image without each of the savings")
    profile: bool = flag(False, "also record the kernels of a step and their times, on a GPU")
    attention: str = flag("flex", "of packs: FlexAttention or a dense mask", ("flex", "dense"))
    device: str = flag("auto", "cpu, cuda ...; auto takes a GPU where there is one")
    record: str | None = flag(None, "JSON file to write; default tests/bench/records/train_SIZE.json")


def main() -> None:
    """Parse the command line and measure. Raises DataError if a part could not be measured."""
    (args,) = parse([TrainBenchArguments], __doc__ or "")
    if args.steps < 1:
        raise ArgumentError(f"--steps is {args.steps}; give a number from 1")
    if len(args.stats) not in (0, 2):
        raise ArgumentError("--stats takes two files: pos_neg.json and sentences.json")
    if args.load_in_4bit and args.decoder_dtype == "fp8":
        raise ArgumentError("--load_in_4bit and --decoder_dtype fp8 are two runs; give one of them")
    whole_numbers(args.captions_per_image, "--captions_per_image", least=1)
    if args.images != "auto" and len(whole_numbers(args.images, "--images", least=1)) > 1:
        raise ArgumentError(f"--images is {args.images}; give one number, or auto")
    from tests.bench.train.bench import TrainBench

    bench = TrainBench(args, Path(args.record) if args.record else RECORDS / f"train_{args.size}.json")
    bench.measure()
    if bench.failed:
        raise DataError(f"not measured: {', '.join(bench.failed)}; the reasons are above")


if __name__ == "__main__":
    run(main)
