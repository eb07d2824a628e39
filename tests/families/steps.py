"""What is tried with a tiny checkpoint of each family, by the scripts that users run: a function a column."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from common.models import load_model
from tests.families.calling import Case, heard, script
from tests.families.mining import draw

SIZES = ((64, 48), (40, 90), (56, 56), (112, 40))
CAPTION = "A dog, and a red bench. There is a cat."


class Killed(BaseException):
    """Stands for a process that is killed."""


def write_data(folder: Path) -> None:
    """Images of several shapes, and captions with spans about them."""
    (folder / "images").mkdir(parents=True)
    noise = np.random.default_rng(0)
    spans, whole = [], []
    for number, (width, height) in enumerate(SIZES * 2):
        name = f"{number:012d}.png"
        pixels = noise.integers(0, 256, (height, width, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / "images" / name)
        for end, start, score in ((6, 0, 40.0), (22, 6, 15.0)):
            spans.append({"image": name, "sentence": CAPTION[:end], "position": start, "score": score})
        whole.append({"image": name, "sentence": CAPTION, "mean": 30.0, "min": 26.0})
    (folder / "pos_neg.json").write_text(json.dumps(spans))
    (folder / "sentences.json").write_text(json.dumps(whole))
    names = [f"{number:012d}.png" for number in range(3)]
    questions = [
        {"question_id": i, "image": name, "text": f"Is there a {what} in the image?", "label": label}
        for i, (name, what, label) in enumerate((n, *k) for n in names for k in (("dog", "yes"), ("car", "no")))
    ]
    lines = "".join(json.dumps(question) + "\n" for question in questions)
    (folder / "coco_pope_random.json").write_text(lines)
    draw(folder / "world")


def caption(case: Case) -> str:
    """Captions of all images; which way they were made."""
    from insight.caption import main

    out = case.out / "captions.jsonl"
    with heard() as said:
        main(case.model("--device", "cpu", "--caption_data_path", str(out), "--max_new_tokens", "3", "--infer_bs", "4"))
    assert len(out.read_text(encoding="utf-8").splitlines()) == 2 * len(SIZES)
    return "trees" if "decoder of trees" in said.getvalue() else "generate"


def connector(case: Case) -> str:
    """Two steps; something has changed, and nothing but the connector."""
    return _trained(case, "connector", "--trainable", "connector", "--max_steps", "2")


def lora(case: Case) -> str:
    """Two steps."""
    return _trained(case, "lora", "--trainable", "lora", "--lora_rank", "2", "--max_steps", "2")


def packed(case: Case) -> str:
    """Losses of packs equal those of one row a caption, images of several sizes in one pack."""
    from common.models.packed.layout import PackedImage

    with heard() as said:
        model: Any = load_model("auto", case.base)
        if not model.packs:
            return _reason(said.getvalue(), "cannot be packed: ")
        images = [Image.open(path).convert("RGB") for path in sorted((case.data / "images").iterdir())[:2]]
        prompt = model.encode_prompt(model.format_prompt("Describe it."))
        targets = [model.encode_caption(text).ids for text in ("A dog.", "A red cat, asleep", "b", "There is a bench.")]
        pixels = model.preprocess(images)
        groups = [
            PackedImage(0, prompt, tuple(map(tuple, targets[:2]))),
            PackedImage(1, prompt, tuple(map(tuple, targets[2:]))),
        ]
        layout = model.lay_out(pixels, groups, 0, 0, False)
        with torch.no_grad():
            found = model.packed_losses(model.image_features(pixels), layout)
            rows = model.image_features(pixels)[torch.tensor([0, 0, 1, 1])]
            plain = model.target_losses(rows, [prompt] * 4, targets)
    torch.testing.assert_close(found[:, : plain.shape[1]], plain, rtol=1e-4, atol=1e-5)
    return "yes"


def four_bits(case: Case) -> str:
    """Two steps of adapters over a decoder in 4 bits."""
    return _trained(case, "four", "--load_in_4bit", "--trainable", "lora", "--lora_rank", "2", "--max_steps", "2")


def checkpointing(case: Case) -> str:
    """The same bytes with activations computed twice, to float32's last digits."""
    _trained(case, "again", "--trainable", "connector", "--max_steps", "2", "--gradient_checkpointing")
    once, twice = (_tensors(case.out / name) for name in ("connector", "again"))
    for name, tensor in once.items():
        torch.testing.assert_close(twice[name], tensor, rtol=1e-3, atol=1e-5)
    return "yes"


def resume(case: Case) -> str:
    """A run that is killed after a step and begun again ends in the same bytes."""
    from finetune.run.trainer import SpanTrainer
    from finetune.train import main

    whole = case.out / "connector" / "trained.safetensors"
    flags = case.train("resumed", "--trainable", "connector", "--max_steps", "2", "--save_steps", "1")
    step, taken = SpanTrainer.training_step, []

    def killed(self: Any, *args: Any, **kwargs: Any) -> Any:
        if taken:
            raise Killed
        taken.append(1)
        return step(self, *args, **kwargs)

    with heard() as said:
        SpanTrainer.training_step = killed
        try:
            main(flags)
        except Killed:
            pass
        finally:
            SpanTrainer.training_step = step
        main(flags)
    assert "continuing at step 1" in said.getvalue(), said.getvalue()[-300:]
    assert (case.out / "resumed" / "trained.safetensors").read_bytes() == whole.read_bytes()
    return "same bytes"


def export(case: Case) -> str:
    """transformers alone loads the exported folder, and gives the logits of base and trained tensors together."""
    from transformers import AutoModelForImageTextToText, AutoProcessor

    from common.args import ModelArguments
    from deploy.export import ExportArguments
    from deploy.export import export as write

    out, trained = case.out / "exported", str(case.out / "connector")
    with heard():
        args = ModelArguments(model="auto", model_path=str(case.base), ckpt_load_path=trained, device="cpu")
        write(args, ExportArguments(export_path=str(out)))
        ours: Any = load_model("auto", case.base, ckpt=trained)
        theirs = AutoModelForImageTextToText.from_pretrained(out).eval()
        AutoProcessor.from_pretrained(out)
        image = Image.open(case.data / "images" / "000000000000.png").convert("RGB")
        inputs = ours._inputs([image], [ours.encode_prompt(ours.format_prompt("a"))])
        with torch.no_grad():
            found, expected = theirs(**inputs).logits, ours.lm(**inputs).logits
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    return "yes"


def pope(case: Case) -> str:
    """Six questions are asked and scored."""
    result = case.out / "pope_result.json"
    flags = case.model("--device", "cpu", "--question_path", str(case.data / "coco_pope_random.json"))
    flags += ["--answers_save_path", str(case.out / "pope.jsonl"), "--result_path", str(result)]
    script("evaluate.eval_pope", *flags)
    assert json.loads(result.read_text(encoding="utf-8"))["n"] == 6
    return "yes"


COLUMNS: dict[str, Callable[[Case], str]] = {
    "caption": caption,
    "train connector": connector,
    "train LoRA": lora,
    "packed": packed,
    "4 bits": four_bits,
    "checkpointing": checkpointing,
    "resume": resume,
    "export and plain load": export,
    "POPE": pope,
}


def _trained(case: Case, name: str, *flags: str) -> str:
    from finetune.train import main

    with heard():
        main(case.train(name, *flags))
    assert any(tensor.abs().sum() > 0 for tensor in _tensors(case.out / name).values())
    return "yes"


def _tensors(folder: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    return dict(load_file(folder / "trained.safetensors"))


def _reason(said: str, mark: str) -> str:
    """What stands behind a mark."""
    from common.errors import ArgumentError

    lines = [line.partition(mark)[2] for line in said.splitlines() if mark in line]
    raise ArgumentError(lines[-1] if lines else "without a reason")
