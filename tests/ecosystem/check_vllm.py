"""vLLM on the CPU: chat with images in a batch. Nothing of this repository is imported.

python check_vllm.py FOLDER

Without `add_special_tokens` vLLM leaves out the beginning symbol that the model was trained with. Its arithmetic is its
own, so a text may part from ours where two tokens are equally likely; most must be the same to the end.
"""

from __future__ import annotations

import base64
import json
import os
import sys
from pathlib import Path
from typing import Any

os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")


def turn(question: str, path: str) -> list[dict[str, Any]]:
    """A conversation of one turn, as the OpenAI interface has it."""
    data = base64.b64encode(Path(path).read_bytes()).decode()
    image = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}}
    return [{"role": "user", "content": [image, {"type": "text", "text": question}]}]


def main(folder: Path) -> None:
    """Check the bundled model and its adapted and merged twin. Raises AssertionError."""
    import vllm

    expected = json.loads((folder / "expected.json").read_text(encoding="utf-8"))
    print(f"vllm {vllm.__version__}")
    settings = vllm.SamplingParams(temperature=0, max_tokens=expected["max_new_tokens"])
    for name in ("mini", "lora"):
        engine = vllm.LLM(str(folder / name), dtype="float32", enforce_eager=True, max_model_len=512, max_num_seqs=4)
        same = total = 0
        for question, prompt, texts in zip(expected["questions"], expected["prompts"], expected[name], strict=True):
            turns = [turn(question, path) for path in expected["pictures"]]
            outputs = engine.chat(turns, settings, tokenization_kwargs={"add_special_tokens": True})
            for output, text in zip(outputs, texts, strict=True):
                assert output.prompt == prompt, (output.prompt, prompt)
                found = output.outputs[0].text.strip()
                same, total = same + (found == text), total + 1
        print(f"  {name}: chat template word for word, {same} of {total} texts as here to the end", flush=True)
        assert same > total / 2
        del engine


if __name__ == "__main__":
    main(Path(sys.argv[1]))
