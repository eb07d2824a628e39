"""Ground truth of a whole annotation folder, built once and kept by the hash of everything that it rests on."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path

from common.errors import DataError, first_line
from common.files.coco import CocoAnnotations, annotation_files, read_annotations
from common.files.contents import file_hash
from common.files.gold import Gold, Truth, lacking_half, truth_of
from common.files.image_ids import KnownImages
from common.files.storage import read_json, write_json
from common.paths import display
from common.processes import made_in_order, usable_cores, worker_pool
from common.progress import announce
from evaluate.chair.parser import PARSER_VERSION, ChairParser
from evaluate.chair.synonyms import BUNDLED, ChairMode
from evaluate.tagger.inflection import TABLE
from evaluate.tagger.nltk_tagger import PosTagger, tagger_of
from evaluate.tagger.tagger import MODEL

CACHED_FROM = 5_000_000  # bytes of annotations; smaller folders are read anew each time
_PARALLEL_FROM = 20_000  # captions
_CHUNKS = 16
_FORMAT = "truth-2"  # of the cached file


def cache_folder() -> Path:
    """`$XDG_CACHE_HOME/efuf`, or `~/.cache/efuf`; for a user without a home, as in some containers, in `/tmp`."""
    given = os.environ.get("XDG_CACHE_HOME")
    try:
        return Path(given or Path.home() / ".cache") / "efuf"
    except RuntimeError:
        return Path(tempfile.gettempdir()) / f"efuf-{os.getuid()}"


def cache_key(
    files: Sequence[Path], mode: ChairMode, synonyms_path: Path | str | None, pos_tagger: PosTagger = "bundled"
) -> str:
    """Hash of the annotations, the lists, the tagger and the versions that the ground truth rests on."""
    lists = [Path(synonyms_path) if synonyms_path else BUNDLED[mode], TABLE, MODEL]
    parts = (_FORMAT, file_hash([*files, *lists]), mode, PARSER_VERSION, pos_tagger, version("nltk"))
    return hashlib.sha256("/".join(parts).encode()).hexdigest()[:32]


def truth_of_folder(
    folder: Path | str,
    mode: ChairMode,
    synonyms_path: Path | str | None,
    wanted: Callable[[KnownImages], Iterable[int]],
    pos_tagger: PosTagger = "bundled",
) -> Truth:
    """Ground truth of the images: at once for a small folder, from or into the cache for a large one.

    Args:
        wanted: ids of the images that matter, given the images that the annotations know by name.

    Raises DataError: no COCO files, files that are not, a category that the list does not know;
    MissingDependencyError: no data for the tagger.
    """
    files = annotation_files(folder)
    where = f"{display(folder)} (from --annotation_path)"
    if sum(path.stat().st_size for path in files) < CACHED_FROM:
        annotations = read_annotations(folder)
        return truth_of(annotations, _parser(mode, synonyms_path, pos_tagger), where, wanted(annotations.known))
    kept = cache_folder() / f"chair-{cache_key(files, mode, synonyms_path, pos_tagger)}.json"
    cached = _from_cache(kept, where)
    if cached is not None:
        announce(f"ground truth of {display(folder)} from the cache {kept}")
        return cached
    announce(f"building the ground truth of {display(folder)}: once, about two minutes for all of COCO 2014")
    annotations = read_annotations(folder)
    gold = build(annotations, mode, synonyms_path, pos_tagger)
    truth = Truth(gold, annotations.captions, annotations.known, lacking_half(annotations), where)
    try:
        write_json(kept, _to_json(truth))
    except OSError as error:
        announce(f"the ground truth cannot be kept in {kept} ({error.strerror}): it is built again each time")
    return truth


def _from_cache(kept: Path, where: str) -> Truth | None:
    """What is kept, None without it, or where it cannot be read, which is said."""
    try:
        return _from_json(kept, where) if kept.is_file() else None
    except (OSError, DataError, AttributeError, KeyError, TypeError, ValueError) as error:
        announce(f"the cache {kept} cannot be read ({first_line(error)}): the ground truth is built again")
        return None


def _parser(mode: ChairMode, synonyms_path: Path | str | None, pos_tagger: PosTagger) -> ChairParser:
    return ChairParser(mode, synonyms_path, tagger_of(pos_tagger))


def build(
    annotations: CocoAnnotations,
    mode: ChairMode,
    synonyms_path: Path | str | None,
    pos_tagger: PosTagger = "bundled",
) -> Gold:
    """Ground truth of every image, on two cores where that pays."""
    ids = annotations.image_ids()
    if sum(map(len, annotations.captions.values())) < _PARALLEL_FROM:
        return _build_part(annotations, mode, synonyms_path, pos_tagger)
    parts = [_part(annotations, ids[start::_CHUNKS]) for start in range(_CHUNKS)]
    build_part = partial(_build_part, mode=mode, synonyms_path=synonyms_path, pos_tagger=pos_tagger)
    gold: dict[int, frozenset[str]] = {}
    with worker_pool(min(_CHUNKS, usable_cores())) as pool:
        for found in made_in_order(pool, build_part, parts):
            gold.update(found)
    return gold


def _part(annotations: CocoAnnotations, ids: Sequence[int]) -> CocoAnnotations:
    """The annotations of some images."""
    return CocoAnnotations(
        {i: annotations.file_names[i] for i in ids if i in annotations.file_names},
        {i: annotations.instances[i] for i in ids if i in annotations.instances},
        {i: annotations.captions[i] for i in ids if i in annotations.captions},
    )


def _build_part(
    annotations: CocoAnnotations, mode: ChairMode, synonyms_path: Path | str | None, pos_tagger: PosTagger
) -> Gold:
    return truth_of(annotations, _parser(mode, synonyms_path, pos_tagger), "the annotations").objects


def _to_json(truth: Truth) -> dict[str, object]:
    return {
        "gold": {str(image_id): sorted(names) for image_id, names in truth.objects.items()},
        "references": {str(image_id): texts for image_id, texts in truth.references.items()},
        "images": sorted(truth.known.pairs),
        "lacking": {what: sorted(ids) for what, ids in truth.lacking.items()},
    }


def _from_json(path: Path, where: str) -> Truth:
    value = read_json(path)
    return Truth(
        {int(image_id): frozenset(names) for image_id, names in value["gold"].items()},
        {int(image_id): texts for image_id, texts in value["references"].items()},
        KnownImages.of(((name, number) for name, number in value["images"]), where),
        {what: frozenset(ids) for what, ids in value["lacking"].items()},
        where,
    )
