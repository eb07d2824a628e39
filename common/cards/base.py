"""The model that a checkpoint was made from, as a card names it: by its hub id where it has one, and its licence."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from common.args import ModelArguments
from common.files.hub import hub_id, licence_of, resolved
from common.paths import MINI_LLAVA

CARD_FILE = "README.md"


@dataclass(frozen=True)
class Base:
    """A base model.

    Attributes:
        name: its hub id, or the name of its folder or file; never a path, which would tell of the machine.
        on_hub: whether the name is a hub id.
        revision: the commit that was taken of it.
        licence: as its own card states it, by the Hub's short name; None if nothing here says it.
    """

    name: str
    on_hub: bool = False
    revision: str | None = None
    licence: str | None = None


def base_of(args: ModelArguments, flag: str = "") -> Base | None:
    """The base that the flags name; None without one.

    Args:
        flag: whose value it is, without the family; of minigpt otherwise the decoder's, which its licence is about.

    Raises ArgumentError.
    """
    if args.is_bundled():
        return Base(MINI_LLAVA.name, licence=stated_licence(MINI_LLAVA))
    flag = flag or ("llama_path" if args.model == "minigpt" and args.given("llama_path") else "path")
    given = args.given(flag)
    if not given:
        return None
    asked = hub_id(given, f"--{args.model}_{flag}")
    if asked is None:
        return _of_folder(Path(given))
    return Base(asked.repo, True, resolved().get(given) or asked.revision, licence_of(asked.repo))


def _of_folder(folder: Path) -> Base:
    """A folder of the hub's cache has the id in its path; any other has its name alone."""
    parts = folder.resolve().parts
    if "snapshots" in parts[:-1]:
        place = len(parts) - 1 - parts[::-1].index("snapshots")
        kind, *names = parts[place - 1].split("--")
        if kind == "models" and names:
            return Base("/".join(names), True, parts[place + 1], stated_licence(folder))
    return Base(folder.resolve().name, licence=stated_licence(folder))


def stated_licence(folder: Path) -> str | None:
    """The licence in the header of a folder's own card; None without one, or for a header that is none."""
    from huggingface_hub import ModelCard

    path = folder / CARD_FILE
    if not path.is_file():
        return None
    try:
        licence = ModelCard.load(path, ignore_metadata_errors=True).data.license
    except (OSError, ValueError, TypeError, AttributeError):  # somebody's README with a header of another kind
        return None
    return licence if isinstance(licence, str) and licence.strip() else None
