"""PEFT over plain transformers: the adapter over the exported base gives the texts of the merged export and of here.

python check_peft.py FOLDER
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import peft
import torch
import transformers
from PIL import Image


def texts(model: Any, processor: Any, expected: dict[str, Any], number: int) -> list[str]:
    """Of all pictures in one batch."""
    images = [Image.open(path).convert("RGB") for path in expected["pictures"]]
    prompts = [expected["prompts"][number]] * len(images)
    inputs = processor(text=prompts, images=[[image] for image in images], padding=True, return_tensors="pt")
    with torch.no_grad():
        rows = model.eval().generate(**inputs, max_new_tokens=expected["max_new_tokens"])
    found = processor.batch_decode(rows[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    return [text.strip() for text in found]


def main(folder: Path) -> None:
    """Lay the adapter over the base, compare, merge with PEFT, compare again. Raises AssertionError."""
    expected = json.loads((folder / "expected.json").read_text(encoding="utf-8"))
    print(f"peft {peft.__version__}, transformers {transformers.__version__}")
    processor = transformers.AutoProcessor.from_pretrained(folder / "mini")
    base = transformers.LlavaForConditionalGeneration.from_pretrained(folder / "mini")
    assert texts(base, processor, expected, 0) == expected["mini"][0]
    assert expected["mini"][0] != expected["lora"][0]
    laid = peft.PeftModel.from_pretrained(base, folder / "lora" / "adapter")
    for number in range(2):
        found = texts(laid, processor, expected, number)
        assert found == expected["lora"][number], (found, expected["lora"][number])
    print(f"  PeftModel.from_pretrained: {2 * len(found)} texts as here")
    found = texts(laid.merge_and_unload(), processor, expected, 0)
    assert found == expected["lora"][0], (found, expected["lora"][0])
    merged = transformers.LlavaForConditionalGeneration.from_pretrained(folder / "lora")
    assert texts(merged, processor, expected, 0) == expected["lora"][0]
    print("  merge_and_unload, and the merged export: the same texts")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
