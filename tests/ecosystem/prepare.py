"""What the checks look at: exports of this repository, pictures, and the texts that are given here.

    python -m tests.ecosystem.prepare FOLDER

Leaves in FOLDER: `mini/` (the bundled model), `original/` (a tiny random LLaVA that came in the original layout),
`base/` and `lora/` (the bundled model and low-rank adapters over it, with the merged weights beside them), pictures of
the mini world, and `expected.json`.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from common.args import ModelArguments
from common.files.storage import write_json
from common.models import load_model
from common.models.body import LoraSettings
from common.models.weights.selection import add_lora
from common.prompts import CAPTION_EVAL, TRAIN
from dataset.mini.draw import draw_split
from deploy.export import ExportArguments, export
from tests.unit.models.tiny_checkpoints import write_llava, write_tokenizer

PICTURES = 4
TOKENS = 60  # of each text


def random_adapters(folder: Path) -> None:
    """A run of connector+lora over the bundled model, every trained value moved a little."""
    model = load_model("llava")
    add_lora(model, LoraSettings(rank=4, alpha=8, targets=("q_proj", "v_proj", "down_proj"), dropout=0.05))
    chosen = model.set_trainable("connector+lora")
    noise = torch.Generator().manual_seed(0)
    for parameter in chosen.values():
        parameter.data += 0.02 * torch.randn(parameter.shape, generator=noise)
    model.save_trained(folder, list(chosen))


def write(folder: Path, **flags: Any) -> None:
    """One export in float32, so that texts can be compared."""
    export(ModelArguments(device="cpu", dtype="float32", **flags), ExportArguments(str(folder), restart=True))


def texts(model: Any, images: Sequence[Image.Image], question: str) -> list[str]:
    """Greedy, as the exports' generation settings say."""
    found: list[str] = model.generate(images, [model.format_prompt(question)] * len(images), max_new_tokens=TOKENS)
    return found


def ids(model: Any, images: Sequence[Image.Image], question: str) -> list[list[int]]:
    """The same as ids: a random model writes broken bytes, which tokenizers decode each in their own way."""
    prompts = [model.format_prompt(question)] * len(images)
    found: list[list[int]] = model.generate_ids(images, prompts, max_new_tokens=TOKENS)
    return found


def main(folder: Path) -> None:
    """Write everything."""
    draw_split(folder, "eval", 7, PICTURES)
    names = sorted(path for path in (folder / "eval" / "images").iterdir())
    images = [Image.open(path).convert("RGB") for path in names]
    write(folder / "mini")
    original = folder / "tiny-original"
    if not original.exists():
        write_tokenizer(folder / "tokenizer.model")
        write_llava(original, folder / "tokenizer.model")
    write(folder / "original", llava_path=str(original), llava_vit_path=str(original / "tower"))
    random_adapters(folder / "trained")
    write(folder / "lora", llava_ckpt_load_path=str(folder / "trained"))
    mini = load_model("llava")
    tiny = load_model("llava", original, vit_path=original / "tower")
    adapted = load_model("llava", ckpt=folder / "trained")
    expected = {
        "pictures": [str(path) for path in names],
        "questions": [TRAIN, CAPTION_EVAL],
        "prompts": [mini.format_prompt(question) for question in (TRAIN, CAPTION_EVAL)],
        "max_new_tokens": TOKENS,
        "mini": [texts(mini, images, question) for question in (TRAIN, CAPTION_EVAL)],
        "original": [ids(tiny, images, question) for question in (TRAIN, CAPTION_EVAL)],
        "lora": [texts(adapted, images, question) for question in (TRAIN, CAPTION_EVAL)],
    }
    write_json(folder / "expected.json", expected)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
