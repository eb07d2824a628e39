"""lmms-eval with a local task over the export: its answers are the texts given here.

python check_lmms_eval.py FOLDER
"""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

TASK = """
task: efuf_local
dataset_path: json
dataset_kwargs:
  data_files:
    test: {questions}
test_split: test
output_type: generate_until
doc_to_visual: !function local_task.doc_to_visual
doc_to_text: !function local_task.doc_to_text
doc_to_target: answer
generation_kwargs:
  max_new_tokens: {tokens}
  temperature: 0
  num_beams: 1
process_results: !function local_task.process_results
metric_list:
  - metric: same_text
    aggregation: mean
    higher_is_better: true
metadata:
  - version: 1.0
"""
FUNCTIONS = """
from PIL import Image


def doc_to_visual(doc):
    return [Image.open(doc["picture"]).convert("RGB")]


def doc_to_text(doc, lmms_eval_specific_kwargs=None):
    return doc["question"]


def process_results(doc, results):
    return {"same_text": float(results[0].strip() == doc["answer"])}
"""


def write_task(folder: Path) -> int:
    """The task's files, one question a picture and instruction. Returns how many."""
    expected = json.loads((folder / "expected.json").read_text(encoding="utf-8"))
    task = folder / "task"
    task.mkdir(exist_ok=True)
    rows = [
        {"picture": picture, "question": question, "answer": answer}
        for question, answers in zip(expected["questions"], expected["mini"], strict=True)
        for picture, answer in zip(expected["pictures"], answers, strict=True)
    ]
    questions = task / "questions.jsonl"
    questions.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    text = TASK.format(questions=questions, tokens=expected["max_new_tokens"])
    (task / "efuf_local.yaml").write_text(text, encoding="utf-8")
    (task / "local_task.py").write_text(FUNCTIONS, encoding="utf-8")
    return len(rows)


def main(folder: Path) -> None:
    """Run it. Raises AssertionError."""
    count = write_task(folder)
    out = folder / "lmms-results"
    settings = f"pretrained={folder / 'mini'},device=cpu,device_map=cpu,dtype=float32"
    command = ["--model", "llava_hf", "--model_args", settings]
    command += ["--tasks", "efuf_local", "--include_path", str(folder / "task"), "--batch_size", "1"]
    subprocess.run([sys.executable, "-m", "lmms_eval", *command, "--output_path", str(out)], check=True)
    newest = max(out.rglob("*results.json"), key=lambda path: path.stat().st_mtime)
    scores = json.loads(newest.read_text(encoding="utf-8"))["results"]["efuf_local"]
    share = next(value for name, value in scores.items() if name.startswith("same_text,"))
    print(f"lmms-eval {version('lmms-eval')}")
    print(f"  llava_hf, a local task of {count} questions: {share:.0%} of the texts as here")
    assert share == 1


if __name__ == "__main__":
    main(Path(sys.argv[1]))
