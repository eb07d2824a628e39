"""Writing a model card beside a checkpoint: `README.md` with the Hub's header, only over one of ours."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from common.cards.base import CARD_FILE, Base
from common.cards.loading import OURS, PEFT, Loading
from common.cards.recipe import inline, made_from, recipe_rows
from common.cards.scores import TASK, Comparison, entries, rows
from common.errors import DataError
from common.files.storage import read_text, write_text
from common.paths import display
from common.progress import announce

TEMPLATE = Path(__file__).with_name("model_card.md.jinja")
LICENCE_ID = re.compile(r"[a-z0-9][a-z0-9.+-]*")  # the Hub's short names
MARK = re.compile(r"\n<!-- written by EFUF, ([0-9a-f]{16}) -->\n\Z")  # and a hash of all that stands before it


@dataclass(frozen=True)
class Subject:
    """What a card is about.

    Attributes:
        name: its title: a repository's name, or the folder's.
        loading: how it is loaded.
        base: the model that it was made from; None if nothing says it.
        trained: whether anything was trained, or the base only has another layout.
        lora: whether that were low-rank adapters.
        training: the manifest of the training; empty if there is none.
        comparisons: results.
    """

    name: str
    loading: Loading
    base: Base | None
    trained: bool = True
    lora: bool = False
    training: Mapping[str, Any] = field(default_factory=dict)
    comparisons: tuple[Comparison, ...] = ()


def model_card(subject: Subject) -> str:
    """The whole text of the card, with its mark."""
    from huggingface_hub import ModelCard

    base = subject.base or Base("a model that is not named here")
    card = ModelCard.from_template(
        _header(subject),
        template_path=str(TEMPLATE),
        name=inline(subject.name),
        summary=_summary(subject, inline(base.name)),
        base=inline(base.name),
        trained=subject.trained,
        recipe=recipe_rows(subject.training),
        comparisons=subject.comparisons,
        rows=rows,
        inline=inline,
        loading=subject.loading.paragraphs(subject.name),
        licence=_licence(base),
        made=made_from(subject.training),
    )
    text = str(card).rstrip() + "\n"
    return f"{text}\n<!-- written by EFUF, {_hash(text)} -->\n"


def _header(subject: Subject) -> Any:
    from huggingface_hub import ModelCardData

    base = subject.base
    tags = ["efuf", "unlearning", "hallucination", subject.loading.family, *(["lora"] if subject.lora else [])]
    on_hub: dict[str, Any] = {}
    if base is not None and base.on_hub:
        relation = "adapter" if subject.loading.library == PEFT else "finetune"
        on_hub = {"base_model": base.name, **({"base_model_relation": relation} if subject.trained else {})}
    scores = entries(subject.comparisons)
    return ModelCardData(
        language="en",
        license=base.licence if base and base.licence and LICENCE_ID.fullmatch(base.licence) else None,
        library_name=subject.loading.library,
        pipeline_tag=TASK,
        tags=tags,
        model_name=subject.name,
        metrics=list(dict.fromkeys(entry.metric_type for entry in scores)) or None,
        eval_results=scores or None,
        **on_hub,
    )


def _summary(subject: Subject, base: str) -> str:
    if not subject.trained:
        return f"{base} in a layout that other tools read."
    if subject.loading.library == PEFT:
        return f"A low-rank adapter for {base} that unlearns the naming of objects that are not in the picture."
    if subject.loading.library == OURS:
        return f"What of {base} was trained to unlearn the naming of objects that are not in the picture."
    return f"{base} after unlearning the naming of objects that are not in the picture."


def _licence(base: Base) -> str:
    if base.licence:
        return f"{inline(base.licence)}, as {inline(base.name)} states of itself, which these weights are made from."
    return f"That of {inline(base.name)}, which these weights are made from; no file here states it."


def write_card(folder: Path, subject: Subject) -> bool:
    """Write README.md into the folder, unless one is there that is not ours or was edited, which is said.

    Raises OSError.
    """
    path = folder / CARD_FILE
    if os.path.lexists(path) and not is_untouched(text_of(path)):
        announce(f"{display(path)} is not as it was written here and is kept; remove it for a new one")
        return False
    write_text(path, model_card(subject))
    return True


def remove_card(folder: Path) -> None:
    """Remove the card of an earlier run, unless it is not as it was written."""
    path = folder / CARD_FILE
    if path.is_file() and is_untouched(text_of(path)):
        path.unlink()


def text_of(path: Path) -> str:
    """Of a file that may be anybody's: empty if it is no text."""
    try:
        return read_text(path)
    except DataError:
        return ""


def is_untouched(text: str) -> bool:
    """Whether this is a card of ours as it was written."""
    mark = MARK.search(text)
    return mark is not None and _hash(text[: mark.start()]) == mark.group(1)


def is_ours(text: str) -> bool:
    """Whether a card was written here, and perhaps edited since."""
    return MARK.search(text.rstrip() + "\n") is not None


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]
