"""Which scorer made scores: noted beside them, and carried on to everything that is made of them."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import msgspec

from common.errors import DataError
from common.files.json_text import as_record, shown
from common.files.storage import read_record
from common.identity import companions_hash, content_hash
from common.manifest import manifest_path, model_hash, noted_beside
from common.paths import MINI_CLIP, display
from common.relevance.clip_scorer import local_folder
from common.relevance.scoring import MODES, ScoreSettings

KEY = "scorer"  # in a manifest


@dataclass(frozen=True)
class NotedScorer:
    """A scorer by its files and settings.

    Attributes:
        clip_model, clip_pretrained: as they were given.
        weights: hash of the weights, or the tag that names them; files: hash of what lies beside them.
        prompt, mode, patch, span, best: of :class:`ScoreSettings`.
        noise, noise_seed: of the noise that was laid over the scores (`noise.py`); 0 for none.
        preprocessing: of :func:`preprocessing_of`; None where it is not noted.
    """

    clip_model: str
    clip_pretrained: str | None = None
    weights: str | None = None
    files: str | None = None
    prompt: str = ScoreSettings.prompt
    mode: str = ScoreSettings.mode
    patch: int = ScoreSettings.patch
    span: int = ScoreSettings.span
    best: int = ScoreSettings.best
    noise: float = 0.0
    noise_seed: int = 0
    preprocessing: dict[str, Any] | None = None

    @classmethod
    def of(cls, model: str, pretrained: str | None, settings: ScoreSettings | None = None) -> NotedScorer:
        """The note of a scorer that is given by name or folder."""
        folder = local_folder(model)
        weights = content_hash(pretrained) if folder is None else model_hash(folder)
        how = preprocessing_of(folder)
        files = companions_hash(folder)
        return cls(model, pretrained, weights, files, **asdict(settings or ScoreSettings()), preprocessing=how)

    @property
    def settings(self) -> ScoreSettings:
        """How scores are computed."""
        return ScoreSettings(self.prompt, self.mode, self.patch, self.span, self.best)

    @property
    def is_here(self) -> bool:
        """Whether its folder is there, or it is no folder but a name."""
        return local_folder(self.clip_model) is not None or not _looks_like_path(self.clip_model)

    def found(self) -> NotedScorer:
        """The same, in the bundled folder where the noted one is gone and held the bundled model."""
        bundled = NotedScorer.of(str(MINI_CLIP), None)
        same = (self.weights, self.files) == (bundled.weights, bundled.files)
        return replace(self, clip_model=str(MINI_CLIP)) if same and not self.is_here else self

    def other_than(self, noted: NotedScorer) -> str | None:
        """In what the two differ, as 'weights 1ab.., not 2cd..'; None if they score alike.

        Files are compared by content, whatever they are called.
        """
        here, there = self.preprocessing or {}, noted.preprocessing or {}
        names = sorted({*here, *there}) if here and there else ()  # of what counts with the weights, where it is noted
        pairs = [(name, here.get(name), there.get(name)) for name in names]
        passed = {"clip_pretrained", "preprocessing", *(["clip_model"] if self.files and noted.files else [])}
        kept = [field.name for field in fields(self) if field.name not in passed]
        pairs += [(name, getattr(self, name), getattr(noted, name)) for name in kept]
        return next((f"{name} {_short(one)}, not {_short(two)}" for name, one, two in pairs if one != two), None)


class _Vision(msgspec.Struct, frozen=True):
    image_size: Any = None


class _Model(msgspec.Struct, frozen=True):
    vision_cfg: _Vision = _Vision()


class _ScorerConfig(msgspec.Struct, frozen=True):
    model_cfg: _Model = _Model()
    preprocess_cfg: dict[str, Any] = {}


def preprocessing_of(folder: Path | None) -> dict[str, Any] | None:
    """How a scorer's folder has pictures prepared: size, mean, std, ...; None where it has no configuration.

    Raises DataError for one of another shape.
    """
    path = folder / "open_clip_config.json" if folder else None
    if path is None or not path.is_file():
        return None
    said = read_record(path, _ScorerConfig)
    return {"image_size": said.model_cfg.vision_cfg.image_size, **said.preprocess_cfg}


def _looks_like_path(model: str) -> bool:
    return Path(model).is_absolute() or (":" not in model and Path(model).name != model)


def _short(value: Any) -> str:
    text = str(value)
    return f"{text[:12]}.." if len(text) == 64 and text.isalnum() else text


def scorer_of_scores(data: Path | str) -> NotedScorer | None:
    """The scorer that the manifest beside a file of scores or samples notes.

    Raises DataError for a note of something else, and for settings that no scorer has.
    """
    value = noted_beside(data).get(KEY)
    if value is None:
        return None
    where = f"{display(manifest_path(data))}: {KEY}"
    noted = as_record(value, NotedScorer, where)
    wrong = [name for name in ("patch", "span", "best") if getattr(noted, name) < 1]
    wrong += [] if noted.mode in MODES else ["mode"]
    wrong += [] if "{object}" in noted.prompt else ["prompt"]
    for name in wrong:
        raise DataError(f"{where}: {name} is {shown(getattr(noted, name))}, which insight/clip.py never writes")
    return noted
