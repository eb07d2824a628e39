"""One page about mined data before training: move the thresholds; see what is lowered, raised, left out, and why.

    python insight/browse.py                                 # the built-in mini world
    python insight/browse.py --score_data_path scores.jsonl --image_dir_path train2014 --page_path browse.html

Reads what `insight/clip.py` wrote. The counts on the page are those of `finetune/format_data.py` with the same
thresholds; the page writes nothing and says the flags to give. It is one file that loads nothing.

Raises (as one line, exit code 2): no such file, malformed lines, objects without a score, thresholds in the wrong
order, a page that would replace something else.
"""

from __future__ import annotations

import sys

if __name__ == "__main__" and not __package__:
    sys.path[0] += "/.."  # run as a file: this checkout goes before whatever is installed

if __name__ == "__main__":
    import common.interrupts  # noqa: F401

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from common.args import ImageArguments, ThresholdArguments, flag, parse, seed_flag
from common.cli import run
from common.errors import DataError
from common.files.images import ImageFolder
from common.files.places import image_folder, placed
from common.files.storage import require_file
from common.mini_world import MiniWorld, source_of
from common.outputs.targets import check_targets
from common.page.target import PageTarget
from common.paths import display
from common.progress import announce, say
from common.samples.scored import read_scored
from common.samples.sets import SUBSENTENCE, TARGETS
from common.thresholds import resolve


@dataclass
class BrowseArguments(ImageArguments):
    """Without --score_data_path all files are the mini world's."""

    score_data_path: str | None = flag(None, "objects with scores, from insight/clip.py")
    image_dir_path: str | None = flag(None, "folder of the captioned images; without it the page has no pictures")
    page_path: str | None = flag(None, "where the page goes; default: beside the scores, as NAME.html")
    unlearn_target: str = flag(SUBSENTENCE, "what would be unlearnt, as in finetune/format_data.py", TARGETS)
    captions_shown: int = flag(300, "captions in the gallery; of more a seeded sample", least=1)
    seed: int = seed_flag("seed of the sample")
    dry_run: bool = flag(False, "check the input and stop")


ARGUMENTS = (BrowseArguments, ThresholdArguments)


def main(argv: Sequence[str] | None = None) -> None:
    """Parse, read, render, write."""
    args, thresholds = parse(ARGUMENTS, __doc__ or "", argv, step="browse")
    from insight.browse_page.build import PAGE, Browse, render

    mini = args.score_data_path is None
    if mini:
        announce("no --score_data_path: using the built-in mini world")
    source = source_of(args.score_data_path, mini, MiniWorld().scores, "--score_data_path")
    target = PageTarget(Path(args.page_path or source.path.with_suffix(".html")), "page_path", PAGE)
    check_targets({"page_path": target.path}, [args], score_data_path=source.path)
    target.check()
    scores = source.made(args.dry_run)
    records = read_scored(require_file(scores, "--score_data_path"))
    if not any(record.objects for record in records):
        raise DataError(f"{display(scores)}: none of {len(records)} captions names an object; there is nothing to cut")
    cut = resolve(thresholds, scores, mini)
    images = _images(args, mini)
    if args.dry_run:
        return
    browse = Browse(scores.name, records, args.unlearn_target, cut, images, args.captions_shown, args.seed)
    html, lost = render(browse)
    if lost:
        announce(lost)
    target.write(html)
    say(browse.counts().line())


def _images(args: BrowseArguments, mini: bool) -> ImageFolder | None:
    """The folder of the pictures; None where none was given, which is said."""
    folder = args.image_dir_path or (MiniWorld().train_images if mini else placed("image_dir_path"))
    if folder is None:
        announce("no --image_dir_path: the page has no pictures")
        return None
    return ImageFolder(image_folder(Path(folder)), turn=not args.ignore_exif_orientation)


if __name__ == "__main__":
    run(main)
