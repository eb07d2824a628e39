"""What the command line names and what follows from it: captions, truth, pictures, scores, training.

A run folder is read by the names that the pipeline gives to its files; of everything else the manifests say where it
lies. A folder that was moved is looked through for the same places below it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from common.errors import ArgumentError, DataError
from common.files.storage import home, read_json, read_text
from common.manifest import manifest_path
from common.outputs.settings import settings_path
from common.paths import display
from evaluate.eval_auto import AutoArguments
from evaluate.report_page.arguments import ReportArguments

TASK = "chair"
OF_RUN = ("base", "unlearned")
WEIGHTS = "trained.safetensors"
AGAIN = "run the command that makes it again, which goes on where it was"


@dataclass(frozen=True)
class Judged:
    """A caption file with how it is judged.

    Attributes:
        captions: the file.
        arguments: of `eval_auto.py`, which judges it so; None without ground truth.
        result: its stored result, None where there is none.
    """

    captions: Path
    arguments: AutoArguments | None
    result: Path | None = None


@dataclass
class Sources:
    """Everything that the page is made from.

    Attributes:
        judged: one caption file, or two: before and after.
        others: pairs of results of other tasks.
        pictures: folder of the captioned images; None: unknown.
        scores: files of scored objects.
        spans: spans of the training.
        trained: folder of the training.
        run: the folder in which files are looked for that are not where they were.
    """

    judged: list[Judged] = field(default_factory=list)
    others: list[tuple[Path, Path]] = field(default_factory=list)
    pictures: Path | None = None
    scores: list[Path] = field(default_factory=list)
    spans: Path | None = None
    trained: Path | None = None
    run: Path | None = None

    def find(self, said: object) -> Path | None:
        """A place that a manifest names, or the same place below the run folder; None if neither is there."""
        if not isinstance(said, str) or not said:
            return None
        path = Path(said)
        parts = path.parts[1:] if path.is_absolute() else path.parts
        moved = [self.run / Path(*parts[n:]) for n in range(len(parts))] if self.run else []
        return next((place for place in (path, *moved) if place.exists()), None)


def find_sources(args: ReportArguments) -> Sources:
    """Read what the bare words name. Raises ArgumentError, DataError."""
    found = Sources()
    words = [home(word, "--results") for word in args.results]
    folders = [word for word in words if word.is_dir()]
    if len(folders) > 1:
        raise ArgumentError(f"one run is shown at a time, and {len(folders)} folders were given; give two results")
    for folder in folders:
        _read_folder(found, folder)
    _read_files(found, [word for word in words if not word.is_dir()], args)
    if not 1 <= len(found.judged) <= 2:
        raise ArgumentError(
            f"one or two caption files, or results of eval_auto.py, are shown; {len(found.judged)} were given"
        )
    _add_flags(found, args)
    _follow_manifests(found)
    return found


def report_place(args: ReportArguments) -> Path:
    """Where the page goes. Raises ArgumentError if nothing says it, or nothing is to be shown."""
    if not args.results:
        raise ArgumentError("name a run folder, one or two results, or one or two caption files (see --help)")
    if args.report_path:
        return Path(args.report_path)
    if len(args.results) == 1 and home(args.results[0], "--results").is_dir():
        return home(args.results[0], "--results") / "report.html"
    raise ArgumentError("--report_path is needed: where the page goes, such as report.html")


def _read_folder(found: Sources, folder: Path) -> None:
    """A run folder of the pipeline, or that of a training, whose curves are shown."""
    if (folder / "split.json").is_file() or (folder / WEIGHTS).is_file():
        found.trained = folder
        return
    results = [folder / f"result_{which}.json" for which in OF_RUN]
    if not results[0].is_file():
        raise DataError(
            f"{display(folder)} is no run folder: it has no {results[0].name}; if its run has not ended, "
            "start the same command again"
        )
    found.run = folder
    if (folder / f"captions_{OF_RUN[1]}.jsonl").exists() and not results[1].is_file():
        raise DataError(f"{display(folder)} is half written: no {results[1].name}; start its run again, which goes on")
    found.judged += [_of_result(found, path) for path in results if path.is_file()]
    for base in sorted(folder.glob(f"result_*_{OF_RUN[0]}.json")):
        now = base.with_name(base.name.replace(f"_{OF_RUN[0]}.", f"_{OF_RUN[1]}."))
        if now.is_file():
            found.others.append((base, now))


def _read_files(found: Sources, files: Sequence[Path], args: ReportArguments) -> None:
    """Results by their task, and captions."""
    others: dict[str, list[Path]] = {}
    for path in files:
        task = _task(path)
        if task is None:
            found.judged.append(Judged(path, _asked_for(args, path)))
        elif task == TASK:
            found.judged.append(_of_result(found, path))
        else:
            others.setdefault(task, []).append(path)
    for task, paths in others.items():
        if len(paths) != 2:
            raise ArgumentError(f"{len(paths)} results of {task} were given; two are compared, base and now")
        found.others.append((paths[0], paths[1]))


def _task(path: Path) -> str | None:
    """The task of a result; None for a file of captions. Raises DataError for JSON that is neither."""
    text = read_text(path)
    if not text.strip():
        raise DataError(f"{display(path)} is empty; {AGAIN}")
    if not text.lstrip().startswith("{") or "\n{" in text.strip():
        return None
    try:
        value = read_json(path)
    except DataError as error:
        raise DataError(f"{error}; is the file half written?") from None
    if "task" in value and "scores" in value:
        return str(value["task"])
    if "caption" in value or "text" in value:
        return None
    raise DataError(f"{display(path)} is neither a result (--result_path of a script of evaluate/) nor captions")


def _of_result(found: Sources, path: Path) -> Judged:
    """A result of `eval_auto.py` with the captions and the truth that its manifest names. Raises DataError."""
    value = read_json(path)
    if not isinstance(value, dict) or value.get("task") != TASK:
        raise DataError(f"{display(path)} is no result of eval_auto.py")
    noted = value.get("manifest", {}).get("arguments") if isinstance(value.get("manifest"), dict) else None
    if not isinstance(noted, dict):
        raise DataError(f"{display(path)} does not say what it was made from; write it anew with eval_auto.py")
    known = {f.name for f in fields(AutoArguments)}
    arguments = AutoArguments(**{name: value for name, value in noted.items() if name in known})
    captions = found.find(arguments.caption_eval_path)
    if captions is None:
        raise DataError(f"{display(path)} is of captions that are no longer there: {arguments.caption_eval_path}")
    for name in ("annotation_path", "gold_objects_path", "synonyms_path"):
        said = getattr(arguments, name)
        place = found.find(said)
        if said and place is None:
            raise DataError(f"{display(path)} was made with --{name} {said}, which is no longer there")
        setattr(arguments, name, str(place) if place else None)
    arguments.caption_eval_path = str(captions)
    return Judged(captions, arguments, path)


def _asked_for(args: ReportArguments, captions: Path) -> AutoArguments | None:
    """How the flags say that a caption file is judged; None without ground truth."""
    if args.annotation_path is None and args.gold_objects_path is None:
        return None
    shared = {f.name: getattr(args, f.name) for f in fields(AutoArguments) if hasattr(args, f.name)}
    return AutoArguments(**{**shared, "caption_eval_path": str(captions)})


def _add_flags(found: Sources, args: ReportArguments) -> None:
    found.pictures = Path(args.image_dir_path) if args.image_dir_path else None
    found.scores = [Path(path) for path in args.score_data_paths]
    found.spans = Path(args.pos_neg_data_path) if args.pos_neg_data_path else None
    found.trained = Path(args.trained_path) if args.trained_path else found.trained


def _follow_manifests(found: Sources) -> None:
    """What no flag says: pictures, spans and training of the captions; of a run folder its scores too."""
    for judged in found.judged:
        _require_finished(judged.captions)
        noted = noted_arguments(judged.captions)
        found.pictures = found.pictures or found.find(noted.get("image_dir_path"))
        if judged is not found.judged[-1]:
            continue
        found.spans = found.spans or found.find(noted.get("pos_neg_data_path"))
        loaded = [value for name, value in noted.items() if name.endswith("ckpt_load_path") and value]
        trained = found.find(loaded[0]) if loaded else None
        found.trained = found.trained or (trained if trained and trained.is_dir() else None)
    if found.spans is not None and not found.scores:
        noted_scores = found.find(noted_arguments(found.spans).get("score_data_path"))
        found.scores = [noted_scores] if noted_scores else []


def _require_finished(path: Path) -> None:
    """Raise DataError for captions of ours that were begun and have not ended."""
    if settings_path(path).is_file() and not manifest_path(path).is_file():
        raise DataError(f"{display(path)} is half written (no {manifest_path(path).name} beside it); {AGAIN}")


def noted_arguments(path: Path) -> dict[str, Any]:
    """The arguments in the manifest beside a file; empty without one. Raises DataError for one that is not JSON."""
    beside = manifest_path(path)
    value = read_json(beside) if beside.is_file() else {}
    arguments = value.get("arguments") if isinstance(value, dict) else None
    return arguments if isinstance(arguments, dict) else {}
