"""Ground truth of a whole annotation folder, built once and kept by the hash of everything that it rests on."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from common.files.coco import CocoAnnotations, annotation_files, read_annotations
from common.files.storage import read_json, write_json
from common.manifest import file_hash
from common.paths import display
from common.progress import announce
from evaluate.chair.gold import Gold, gold_from_annotations
from evaluate.chair.parser import PARSER_VERSION, ChairParser
from evaluate.chair.synonyms import BUNDLED, ChairMode
from evaluate.tagger.inflection import TABLE
from evaluate.tagger.nltk_tagger import PosTagger, tagger_of
from evaluate.tagger.tagger import MODEL

CACHED_FROM = 5_000_000  # bytes of annotations; smaller folders are read anew each time
_PARALLEL_FROM = 20_000  # captions
_CHUNKS = 16


@dataclass(frozen=True)
class Truth:
    """Objects and reference captions by image id."""

    gold: Gold
    references: Mapping[int, Sequence[str]]


def cache_folder() -> Path:
    """`$XDG_CACHE_HOME/efuf`, or `~/.cache/efuf`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "efuf"


def cache_key(
    files: Sequence[Path], mode: ChairMode, synonyms_path: Path | str | None, pos_tagger: PosTagger = "bundled"
) -> str:
    """Hash of the annotations, the lists, the tagger and the versions that the ground truth rests on."""
    lists = [Path(synonyms_path) if synonyms_path else BUNDLED[mode], TABLE, MODEL]
    parts = (file_hash([*files, *lists]), mode, PARSER_VERSION, pos_tagger, version("nltk"))
    return hashlib.sha256("/".join(parts).encode()).hexdigest()[:32]


def truth_of_folder(
    folder: Path | str,
    mode: ChairMode,
    synonyms_path: Path | str | None,
    image_ids: Sequence[int],
    pos_tagger: PosTagger = "bundled",
) -> Truth:
    """Ground truth of the images: at once for a small folder, from or into the cache for a large one.

    Raises DataError: no COCO files, or files that are not; MissingDependencyError: no data for the tagger.
    """
    files = annotation_files(folder)
    if sum(path.stat().st_size for path in files) < CACHED_FROM:
        annotations = read_annotations(folder)
        gold = gold_from_annotations(annotations, ChairParser(mode, synonyms_path, tagger_of(pos_tagger)), image_ids)
        return Truth(gold, annotations.captions)
    kept = cache_folder() / f"chair-{cache_key(files, mode, synonyms_path, pos_tagger)}.json"
    if kept.is_file():
        announce(f"ground truth of {display(folder)} from the cache {kept}")
        return _from_json(kept)
    announce(f"building the ground truth of {display(folder)}: once, about two minutes for all of COCO 2014")
    annotations = read_annotations(folder)
    gold = build(annotations, mode, synonyms_path, pos_tagger)
    rows = {str(image_id): sorted(names) for image_id, names in gold.items()}
    write_json(kept, {"gold": rows, "references": {str(i): texts for i, texts in annotations.captions.items()}})
    return Truth(gold, annotations.captions)


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
    gold: Gold = {}
    with ProcessPoolExecutor(min(_CHUNKS, os.cpu_count() or 1)) as pool:
        for found in pool.map(_build_part, parts, *zip(*[(mode, synonyms_path, pos_tagger)] * _CHUNKS, strict=True)):
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
    parser = ChairParser(mode, synonyms_path, tagger_of(pos_tagger))
    return gold_from_annotations(annotations, parser, annotations.image_ids())


def _from_json(path: Path) -> Truth:
    value = read_json(path)
    gold = {int(image_id): frozenset(names) for image_id, names in value["gold"].items()}
    return Truth(gold, {int(image_id): texts for image_id, texts in value["references"].items()})
