"""One page that shows a result: pictures, captions before and after, what was invented, and how sure the numbers are.

    python evaluate/report.py runs/demo/seed0
    python evaluate/report.py base.json unlearned.json --report_path report.html
    python evaluate/report.py before.jsonl after.jsonl --annotation_path coco/annotations --image_dir_path val2014 \\
        --report_path report.html --figures figures

Without ground truth it shows what is named and what the scorer thinks of it. The page is one file that loads nothing.
Refuses captions or results of different images, modes or versions, and what is half written.
"""

from __future__ import annotations

import sys

if __name__ == "__main__" and not __package__:
    sys.path[0] += "/.."  # run as a file: this checkout goes before whatever is installed

if __name__ == "__main__":
    import common.interrupts  # noqa: F401

from collections.abc import Sequence
from contextlib import nullcontext

from common.args import parse
from common.cli import run
from common.outputs.targets import check_targets
from common.page.target import PageTarget
from common.progress import say
from evaluate.report_page.arguments import ARGUMENTS, named
from evaluate.report_page.build import PAGE, make_report, render
from evaluate.report_page.figures import Figures
from evaluate.report_page.headline import headline, summary
from evaluate.report_page.sources import report_place


def main(argv: Sequence[str] | None = None) -> None:
    """Parse, judge, write. Raises UserError."""
    args, thresholds = parse(ARGUMENTS, __doc__ or "", named(sys.argv[1:] if argv is None else argv), step="report")
    target = PageTarget(report_place(args), "report_path", PAGE)
    check_targets({"report_path": target.path}, [args], results_paths=args.results)
    target.check()
    figures = Figures(args.figures, [args]) if args.figures else None
    report = make_report(args, thresholds)
    with nullcontext() if figures is None else figures.after(report):
        target.write(render(report, args))
    say("\n".join([headline(report.evidence), *summary(report.evidence, report.verdicts)]))


if __name__ == "__main__":
    run(main)
