"""The result in words and as a forest plot: what fell, what rose, and what is inside the noise."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from common.page.charts import Scale, scale_of
from evaluate.metrics.paired import Difference
from evaluate.report_page.evidence import Evidence, Side
from evaluate.report_page.scorer import Scorer
from evaluate.report_page.verdicts import ObjectRow, Verdict
from evaluate.results.scoring import number

LOWER, HIGHER, NEITHER = -1, 1, 0
MEANING: Mapping[str, tuple[str, int]] = {  # score -> what it says, and which way is better
    "chair_s": ("captions with something invented", LOWER),
    "chair_i": ("mentions that are invented", LOWER),
    "recall": ("objects of the pictures that are named", HIGHER),
    "repetition": ("captions that name something twice", LOWER),
    "bleu_1": ("words shared with human captions", HIGHER),
    "bleu_2": ("word pairs shared with human captions", HIGHER),
    "bleu_4": ("four words in a row shared", HIGHER),
    "words": ("words in a caption", NEITHER),
    "mentions_per_caption": ("objects mentioned in a caption", NEITHER),
    "distinct_1": ("different words, of all", NEITHER),
    "distinct_2": ("different word pairs, of all", NEITHER),
}
LISTED = 5  # objects in a sentence
NO_BREAK = "\u00a0"
SHRUNK = 0.9  # of the words before: shorter captions are part of a gain


@dataclass(frozen=True)
class ForestRow:
    """One score. Texts are those of `eval_auto.py` and `compare.py`; places are percent of the plot's width.

    Attributes:
        tone: good, bad or noise (the interval holds zero, or neither way is better).
        dot, low, high, zero: places; None where there is no interval.
    """

    name: str
    meaning: str
    base: str
    base_interval: str
    now: str
    now_interval: str
    change: str
    change_interval: str
    p: str
    tone: str
    dot: float | None = None
    low: float | None = None
    high: float | None = None
    zero: float | None = None


@dataclass(frozen=True)
class Forest:
    """Rows of one axis."""

    title: str
    rows: list[ForestRow]
    scale: Scale
    unit: str


def forests(evidence: Evidence) -> list[Forest]:
    """The scores by their axis: shares in percentage points, the rest in percent of what it was."""
    found = evidence.differences
    shares = [name for name in found if _is_share(name)]
    others = [name for name in found if not _is_share(name)]
    out = []
    for title, names, unit in (("Shares", shares, "percentage points"), ("Length", others, "% of before")):
        if names:
            drawn = {name: _drawn(name, found[name]) for name in names}
            scale = scale_of([v for d in drawn.values() for v in d], zero=True, most=5)
            out.append(Forest(title, [_row(n, evidence, drawn[n], scale) for n in names], scale, unit))
    return out


def _is_share(name: str) -> bool:
    return number(name, 0.0).endswith("%")


def _drawn(name: str, d: Difference) -> tuple[float, float, float]:
    """Difference and interval as they are drawn."""
    factor = 100.0 if _is_share(name) else 100.0 / (abs(d.first) or 1.0)
    return d.difference * factor, d.low * factor, d.high * factor


def tone(name: str, d: Difference) -> str:
    """good, bad, or noise."""
    way = MEANING.get(name, ("", NEITHER))[1]
    if d.low <= 0 <= d.high or way == NEITHER:
        return "noise"
    return "good" if (d.difference > 0) == (way == HIGHER) else "bad"


def _row(name: str, evidence: Evidence, drawn: tuple[float, float, float], scale: Scale) -> ForestRow:
    d = evidence.differences[name]
    after = evidence.after or evidence.before
    return ForestRow(
        name,
        MEANING.get(name, ("", 0))[0],
        number_text(name, d.first),
        interval_text(evidence.before, name),
        number_text(name, d.second),
        interval_text(after, name),
        _signed(name, d.difference),
        span_text(name, d.low, d.high),
        f"{d.p:.3f}",
        tone(name, d),
        scale(drawn[0]),
        scale(drawn[1]),
        scale(drawn[2]),
        scale(0.0),
    )


def single_rows(side: Side) -> list[ForestRow]:
    """The scores of one caption file."""
    scores = side.result.scores if side.result else {}
    return [
        ForestRow(n, MEANING.get(n, ("", 0))[0], number_text(n, v), interval_text(side, n), "", "", "", "", "", "noise")
        for n, v in scores.items()
    ]


def interval_text(side: Side, name: str) -> str:
    """The 95 % interval of a score; empty without one."""
    bounds = side.result.intervals.get(name) if side.result else None
    return span_text(name, *bounds) if bounds else ""


def _signed(name: str, value: float) -> str:
    return ("+" if value > 0 else "") + number_text(name, value)


def number_text(name: str, value: float) -> str:
    """A score as `eval_auto.py` prints it, with a true minus, and not broken before its unit."""
    return number(name, value).replace("-", "−").replace(" ", NO_BREAK)


def span_text(name: str, low: float, high: float) -> str:
    """Two ends of an interval, with their unit once."""
    return f"{number_text(name, low).removesuffix(f'{NO_BREAK}%')} to {number_text(name, high)}"


def _percent(value: float) -> str:
    return f"{100 * value:.1f}{NO_BREAK}%"


def _points(value: float) -> str:
    return f"{100 * value:+.1f}".replace("-", "−")


def headline(evidence: Evidence) -> str:
    """One sentence: what became of invented objects."""
    if not evidence.has_truth:
        return "What the captions name, with nothing to say whether it is there"
    before = evidence.before.result.scores["chair_i"]  # type: ignore[union-attr]
    if evidence.after is None:
        return f"{_percent(before)} of the objects that are named are not in the picture"
    d = evidence.differences["chair_i"]
    share = f"from {_percent(d.first)} to {_percent(d.second)} of all that is named"
    if d.low <= 0 <= d.high:
        return f"Invented objects go {share}: inside the noise"
    return f"Invented objects {'fall' if d.difference < 0 else 'rise'} {share}"


def summary(evidence: Evidence, verdicts: Iterable[Verdict]) -> list[str]:
    """What follows the headline, sentence by sentence."""
    verdicts = list(verdicts)
    count = len(verdicts)
    if evidence.after is None:
        return [f"{count:,} caption{'s' if count > 1 else ''} of one model." + ("" if evidence.has_truth else NO_TRUTH)]
    images = len({reading.caption.image_id for reading, _ in evidence.pairs})
    captions = f"{count:,} captions of {images:,} pictures" if images < count else f"{count:,} pictures, described"
    if not evidence.has_truth:
        return [f"{captions} before and after.{NO_TRUTH}"]
    kinds = Counter(v.kind for v in verdicts)
    d = evidence.differences["chair_s"]
    lines = [
        f"{captions} before and after. {kinds['better']:,} captions invent less than they did, "
        f"{kinds['worse']:,} invent more, {kinds['same']:,} as much.",
        f"Captions with anything invented: {_percent(d.first)} before, {_percent(d.second)} now, "
        f"{_points(d.difference)} points (95{NO_BREAK}% interval {_points(d.low)} to {_points(d.high)}).",
    ]
    return lines + list(cautions(evidence))


NO_TRUTH = " No ground truth was given, so nothing here says what is invented."


def unlearned(rows: Iterable[ObjectRow], scorer: Scorer) -> str:
    """What training lowered, and which objects are invented less often for it; empty where neither is known."""
    lowered, raised = scorer.span_counts()
    parts = [f"Training lowered {lowered:,} sub-sentences and raised {raised:,}."] if lowered or raised else []
    fallen = [row for row in rows if row.hallucinated[1] < row.hallucinated[0]]
    fallen.sort(key=lambda row: row.hallucinated[1] - row.hallucinated[0])
    listed = ", ".join(f"{row.name} {row.hallucinated[0]:,} → {row.hallucinated[1]:,}" for row in fallen[:LISTED])
    return " ".join([*parts, *([f"Unlearned most: {listed}."] if listed else [])])


def cautions(evidence: Evidence) -> Iterable[str]:
    """What a reader should hold against the headline."""
    found = evidence.differences
    recall, words, twice = found["recall"], found["words"], found.get("repetition")
    if recall.high < 0:
        yield f"It also names fewer of the things that are there: {_percent(recall.first)} → {_percent(recall.second)}."
    if words.second < SHRUNK * words.first:
        share = 100 * (1 - words.second / words.first)
        yield f"Captions are {share:.0f}{NO_BREAK}% shorter: part of any gain may be silence."
    if twice and twice.low > 0:
        yield f"It says things twice more often: {_percent(twice.first)} → {_percent(twice.second)} of the captions."
