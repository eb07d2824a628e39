"""The page from its sources: everything that the template asks for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.args import ThresholdArguments
from common.files.image_ids import image_id_of, plain_number
from common.files.images import ImageFolder, image_names
from common.files.records import CaptionObjects
from common.manifest import versions
from common.page.pictures import BUDGET, Album, lost_line, make_album
from common.page.render import Page
from common.page.visible_text import LONGEST
from common.progress import announce
from evaluate.compare import compare
from evaluate.metrics.paired import Difference
from evaluate.report_page import cards
from evaluate.report_page.arguments import ReportArguments
from evaluate.report_page.curves import Plot, Training, length_plot, read_training, score_plot
from evaluate.report_page.evidence import Evidence, gather
from evaluate.report_page.headline import Forest, cautions, forests, headline, single_rows, summary, unlearned
from evaluate.report_page.labels import Labelled, label
from evaluate.report_page.origins import origins
from evaluate.report_page.scorer import Scorer, mined_records, read_scorer, spread_out
from evaluate.report_page.sources import Sources, find_sources, noted_arguments
from evaluate.report_page.verdicts import Pair, Verdict, object_rows, verdict
from evaluate.results.result_files import read_result
from evaluate.results.scoring import number

MAKER = "EFUF evaluate/report.py"
PAGE = Page(
    "report.html",
    MAKER,
    Path(__file__).parent / "parts",
    styles=("report.css",),
    scripts=("report.js",),
    filters={"number": number},
)
LARGEST = 14_500_000  # characters of the page, nearly all of which take one byte
LENGTHS = (LONGEST, 1_500, 600, 250)  # characters of a caption that are shown; the next where a page is too large
MINED_SHARE = 0.2  # of the budget of pictures


@dataclass(frozen=True)
class Report:
    """What is known, and what is drawn of it as figures too."""

    sources: Sources
    evidence: Evidence
    verdicts: list[Verdict]
    scorer: Scorer
    labelled: Labelled
    training: Training | None
    seed: int

    @property
    def forests(self) -> list[Forest]:
        """Differences with intervals."""
        return forests(self.evidence)

    @property
    def plots(self) -> dict[str, Plot]:
        """Curves by the name of their figure."""
        found = {"scores": score_plot(self.scorer, self.labelled), "lengths": length_plot(self.evidence)}
        training = self.training.plots() if self.training else []
        found |= {f"training_{number}": plot for number, plot in enumerate(training, start=1)}
        return {name: plot for name, plot in found.items() if plot is not None}


def make_report(args: ReportArguments, thresholds: ThresholdArguments) -> Report:
    """Read and judge everything. Raises UserErrors."""
    sources = find_sources(args)
    evidence = gather(sources.judged, args.seed)
    verdicts = [verdict(pair) for pair in evidence.pairs]
    scorer = read_scorer(sources.scores, sources.spans, thresholds)
    labelled = label(scorer.files, sources)
    return Report(sources, evidence, verdicts, scorer, labelled, read_training(sources.trained), args.seed)


def render(report: Report, args: ReportArguments) -> str:
    """The page's HTML. Of very long captions less is shown until it fits. Says how many pictures are missing."""
    shown = _chosen(report, args)
    notes = list(filter(None, (shown.lost_line(), shown.mined_lost_line())))
    for note in notes:
        announce(note)
    objects = object_rows(report.evidence.pairs)
    values = {
        **_headline(report),
        **_mined(report, shown),
        "unlearned": unlearned(objects if report.evidence.after else (), report.scorer),
        "notes": notes,
        "no_pictures": report.sources.pictures is None,
        "scorer": report.scorer,
        "objects": objects,
        "plots": report.plots,
        "training": report.training,
        "origins": origins(report.sources),
        "versions": versions(),
        "seed": report.seed,
    }
    pages = (PAGE.render(**values, **_gallery(report, shown, longest)) for longest in LENGTHS)
    html = next(pages)
    while len(html) > LARGEST and (shorter := next(pages, None)) is not None:
        html = shorter
    return html


@dataclass(frozen=True)
class Shown:
    """What of all is in the galleries, with its pictures."""

    pairs: list[tuple[Pair, Verdict]]
    album: Album
    mined: list[CaptionObjects]
    mined_album: Album
    mined_of: int

    def lost_line(self) -> str:
        """How many pictures of captions are missing."""
        return lost_line(self.album.lost, len({pair[0].caption.image for pair, _ in self.pairs}))

    def mined_lost_line(self) -> str:
        """How many pictures of mined captions are missing."""
        return lost_line(self.mined_album.lost, len({record.image for record in self.mined}))


def _chosen(report: Report, args: ReportArguments) -> Shown:
    """A sample of both, with pictures that share one budget."""
    everything = list(zip(report.evidence.pairs, report.verdicts, strict=True))
    pairs = cards.sample(everything, args.captions_shown, report.seed)
    mined = mined_records(report.scorer, {before.caption.image for before, _ in report.evidence.pairs})
    some = spread_out(mined, args.mined_shown)
    share = MINED_SHARE if some else 0.0
    album = _album([pair[0].caption.image for pair, _ in pairs], report.sources.pictures, (1 - share) * BUDGET)
    mined_album = _album([record.image for record in some], _mined_pictures(report.sources, some), share * BUDGET)
    return Shown(pairs, album, some, mined_album, len(mined))


def _gallery(report: Report, shown: Shown, longest: int) -> dict[str, Any]:
    """The evaluated captions, of each at most so many characters."""
    gallery = [
        cards.evaluated_card(number, pair, verdict, report.scorer, shown.album, longest)
        for number, (pair, verdict) in enumerate(shown.pairs)
    ]
    return {
        "gallery": gallery,
        "filters": _filters(gallery, report.evidence),
        "sorts": _sorts(report.evidence),
        "gallery_objects": cards.object_counts(gallery),
        "of_all": len(report.evidence.pairs),
        "has_scores": any(side.scores for card in gallery for side in card.sides),
    }


def _mined(report: Report, shown: Shown) -> dict[str, Any]:
    """The captions of the training."""
    gallery = [cards.mined_card(n, r, report.scorer, shown.mined_album) for n, r in enumerate(shown.mined)]
    return {
        "mined": gallery,
        "mined_filters": _mined_filters(gallery),
        "mined_objects": cards.object_counts(gallery),
        "mined_of": shown.mined_of,
    }


def _headline(report: Report) -> dict[str, Any]:
    evidence = report.evidence
    result = evidence.before.result
    return {
        "evidence": evidence,
        "headline": headline(evidence),
        "summary": summary(evidence, report.verdicts),
        "cautions": list(cautions(evidence)) if evidence.differences else [],
        "forests": report.forests,
        "single": [] if evidence.after else single_rows(evidence.before),
        "definition": f"{result.definition}, version {result.version}" if result else "",
        "kinds": [(kind, sum(v.kind == kind for v in report.verdicts)) for kind in ("better", "same", "worse")],
        "lost_objects": sum(len(v.lost) for v in report.verdicts),
        "others": [_other(*pair, report.seed) for pair in report.sources.others],
    }


def _other(first: Path, second: Path, seed: int) -> tuple[str, str, dict[str, Difference]]:
    """Task, definition and differences of another benchmark, as `compare.py` finds them."""
    one, two = read_result(first), read_result(second)
    found, _ = compare(one, two, seed)
    return one.task, f"{one.definition}, version {one.version}", found


def _album(names: list[str], folder: Path | None, budget: float) -> Album:
    """Pictures by name; where captions say only a number, of the file with that number."""
    if folder is None:
        return make_album(names, None)
    images = ImageFolder(folder)
    bare = {name: number for name in names if (number := plain_number(name)) is not None}
    numbered = {image_id_of(file): file for file in image_names(images.path)} if bare else {}
    files = {name: numbered[number] for name, number in bare.items() if number in numbered}
    return make_album(names, images, int(budget), files)


def _mined_pictures(sources: Sources, mined: list[CaptionObjects]) -> Path | None:
    """The folder of the images whose captions were mined, as the manifest of their scores says."""
    said = [sources.find(noted_arguments(path).get("image_dir_path")) for path in sources.scores]
    held = (path for path in said if path is not None and mined and (path / mined[0].image).is_file())
    return next(held, sources.pictures)


def _filters(gallery: list[cards.Card], evidence: Evidence) -> list[tuple[str, str, int]]:
    counts = cards.tag_counts(gallery)
    names = [("all", "All")]
    if evidence.after is not None and evidence.has_truth:
        names += [("better", "Better"), ("worse", "Worse"), ("same", "As before")]
    names += [("repeats", "Says it twice" if evidence.after is None else "Repeats itself more")]
    if evidence.after is not None:
        names += [("shorter", "Much shorter")]
        names += [("lost", "Lost something real")] if evidence.has_truth else []
    return [(value, label, counts[value]) for value, label in names]


def _sorts(evidence: Evidence) -> list[tuple[str, str]]:
    both, known = evidence.after is not None, evidence.has_truth
    choices: list[tuple[str, str, bool]] = [
        ("order", "as in the file", True),
        ("gain", "most invented taken away", both and known),
        ("-gain", "most invented added", both and known),
        ("invented", "most invented now", known),
        ("change", "longest change", both),
        ("words", "longest first", True),
        ("-words", "shortest first", True),
    ]
    return [(value, label) for value, label, holds in choices if holds]


def _mined_filters(gallery: list[cards.Card]) -> list[tuple[str, str, int]]:
    counts = cards.tag_counts(gallery)
    names = (("all", "All"), ("lowered", "With a lowered part"), ("raised", "With a raised part"))
    return [(value, label, counts[value]) for value, label in names]
