"""The folder that a pretraining script writes: a new one, or the bundled one that it once made."""

from __future__ import annotations

from pathlib import Path

from common.cards.base import CARD_FILE
from common.cards.card import text_of
from common.outputs.folders import FolderTarget


def pretrained_folder(path: str, script: str) -> FolderTarget:
    """Ours is a folder whose card names the script. Its files are replaced one by one; the card stays."""
    mark = f"no {CARD_FILE} that names {script}"
    return FolderTarget(Path(path), "output_dir", True, lambda folder: script in text_of(folder / CARD_FILE), mark)
