"""Plain transformers: model, processor, chat template, batch of two, pipeline. Nothing of this repository is imported.

python check_transformers.py FOLDER
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
import transformers
from PIL import Image


def turn(question: str, image: Any) -> list[dict[str, Any]]:
    """A conversation of one turn."""
    return [{"role": "user", "content": [{"type": "image", "image": image}, {"type": "text", "text": question}]}]


def check(folder: Path, name: str, expected: dict[str, Any]) -> None:
    """Compare everything of one export. Raises AssertionError."""
    model, report = transformers.AutoModelForImageTextToText.from_pretrained(folder / name, output_loading_info=True)
    assert not report["missing_keys"] and not report["unexpected_keys"], report
    # The original layout's pictures are resized, which only Pillow does as here.
    backend = {"backend": "pil"} if name == "original" else {}
    processor = transformers.AutoProcessor.from_pretrained(folder / name, **backend)
    images = [Image.open(path).convert("RGB") for path in expected["pictures"]]
    for question, prompt, texts in zip(expected["questions"], expected["prompts"], expected[name], strict=True):
        made = processor.apply_chat_template(turn(question, images[0]), add_generation_prompt=True, tokenize=False)
        assert made == prompt, (made, prompt)
        found: list[Any] = []
        for start in range(0, len(images), 2):
            pair = images[start : start + 2]
            inputs = processor(text=[prompt] * 2, images=[[image] for image in pair], padding=True, return_tensors="pt")
            with torch.no_grad():
                rows = model.eval().generate(**inputs, max_new_tokens=expected["max_new_tokens"])
            new = rows[:, inputs["input_ids"].shape[1] :]
            if name == "original":
                found += [[i for i in row if i != processor.tokenizer.pad_token_id] for row in new.tolist()]
            else:
                found += [text.strip() for text in processor.batch_decode(new, skip_special_tokens=True)]
        assert found == texts, (found, texts)
    print(f"  {name}: chat template word for word, {2 * len(images)} texts as here, in batches of two")


def check_pipeline(folder: Path, expected: dict[str, Any]) -> None:
    """The pipeline with conversations. Raises AssertionError."""
    pipe = transformers.pipeline("image-text-to-text", model=str(folder / "mini"), device="cpu")
    turns = [turn(expected["questions"][0], Image.open(path).convert("RGB")) for path in expected["pictures"]]
    found = pipe(text=turns, generate_kwargs={"max_new_tokens": expected["max_new_tokens"]}, return_full_text=False)
    texts = [(row[0] if isinstance(row, list) else row)["generated_text"].strip() for row in found]
    assert texts == expected["mini"][0], (texts, expected["mini"][0])
    print(f"  mini: pipeline image-text-to-text, {len(texts)} texts as here")


def main(folder: Path) -> None:
    """Check both bases."""
    expected = json.loads((folder / "expected.json").read_text(encoding="utf-8"))
    print(f"transformers {transformers.__version__}, torch {torch.__version__}")
    check(folder, "mini", expected)
    check(folder, "original", expected)
    check_pipeline(folder, expected)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
