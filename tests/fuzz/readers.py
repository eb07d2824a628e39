"""Every reader of the project with small valid files."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from common.args import ThresholdArguments
from common.arguments.config_file import read_config
from common.files.coco import read_annotations
from common.files.gold import truth_from_file
from common.files.record_files import read_captions, read_objects, read_sentence_samples, read_span_samples
from common.files.storage import read_yaml
from common.files.vocabulary import read_vocabulary
from common.models import load_model
from common.models.checkpoints.files import open_folder
from common.models.families.minigpt_files import find_files
from common.models.parts.clip_tower import build_tower, read_tower_config
from common.models.parts.preprocess_files import read_preprocessing
from common.models.weights.trained import save_trained
from common.outputs.settings import check_settings
from common.paths import MINI_LLAVA
from common.thresholds import resolve
from evaluate import compare, eval_auto
from evaluate.answers.rows import read_answers
from evaluate.benchmarks import amber_files, gqa_files, mme_files, pope_files, qbench_files, sqa_files
from evaluate.chair.counting import COLUMNS
from evaluate.chair.parser import ChairParser
from evaluate.chair.synonyms import load_word_lists
from evaluate.results.result_files import read_result
from finetune.corpus.gold import read_gold
from finetune.run.folder import RunFolder
from finetune.run.state import load_state, save_state
from finetune.steps.reference import read_references
from tests.fuzz.reader import Reader

IDS = frozenset(("image_id", "question_id", "id", "imageId", "index", "doc_id", "image"))
NAME = "COCO_val2014_000000000042.jpg"
CAPTION = "A dog lies on a red bench, and a cat sits beside it."


def json_file(value: Any) -> bytes:
    """One JSON value."""
    return (json.dumps(value, indent=1) + "\n").encode()


def json_lines(*rows: Any) -> bytes:
    """One row a line."""
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


CAPTIONS = [
    {"image": NAME, "image_id": 42, "caption": CAPTION},
    {"image": NAME, "image_id": 42, "caption": "A dog.", "sample": 1},
    {"image_id": "COCO_val2014_000000000007.jpg", "text": "A cat and a bus."},
]
OBJECTS = [
    {
        **CAPTIONS[0],
        "objects": [
            {"text": "dog", "start": 2, "end": 5, "score": 31.5},
            {"text": "red bench", "start": 16, "end": 25, "score": None},
        ],
    },
    {**CAPTIONS[1], "objects": []},
    {
        "image": "7.jpg",
        "image_id": 7,
        "caption": "A cat.",
        "objects": [{"text": "cat", "start": 2, "end": 5, "score": 20}],
    },
]
COCO = {
    "images": [{"id": 42, "file_name": NAME}, {"id": 7, "file_name": "7.jpg"}],
    "annotations": [{"id": 1, "image_id": 42, "category_id": 18}, {"id": 2, "image_id": 7, "category_id": 17}],
    "categories": [{"id": 17, "name": "cat"}, {"id": 18, "name": "dog"}],
}
COCO_CAPTIONS = {
    "images": COCO["images"],
    "annotations": [{"id": 1, "image_id": 42, "caption": CAPTION}, {"id": 2, "image_id": 7, "caption": "A cat."}],
}
TURNS = [
    {"from": "system", "value": "Be short."},
    {"from": "human", "value": "<image>\nWhat?"},
    {"from": "gpt", "value": "A harbor."},
]


def record_readers() -> list[Reader]:
    """Files that travel between the steps."""
    spans = [{"image": NAME, "sentence": "A dog", "position": 0, "score": 31.5}]
    wholes = [{"image": NAME, "sentence": CAPTION, "mean": 31.5, "min": 28.25}]
    text = f"{NAME} ### {CAPTION}\n7.jpg ### A cat.\n".encode()
    words = f"{NAME} ### 0 ### dog, cat, bench\n7.jpg ### 1 ### cat\n".encode()
    both = frozenset(("image_id",))
    return [
        Reader(
            "caption lines", {"c.jsonl": json_lines(*CAPTIONS)}, lambda p: read_captions(p / "c.jsonl"), spelled=both
        ),
        Reader(
            "caption list", {"c.json": json_file(CAPTIONS)}, lambda p: read_captions(p / "c.json", True), spelled=both
        ),
        Reader("caption text", {"c.txt": text}, lambda p: read_captions(p / "c.txt")),
        Reader("object lines", {"o.jsonl": json_lines(*OBJECTS)}, lambda p: read_objects(p / "o.jsonl"), spelled=both),
        Reader("object list", {"o.json": json_file(OBJECTS)}, lambda p: read_objects(p / "o.json"), spelled=both),
        Reader(
            "object text",
            {"c.txt": text, "o.txt": words},
            lambda p: read_objects(p / "o.txt", read_captions(p / "c.txt")),
        ),
        Reader("spans", {"pos_neg.json": json_file(spans)}, lambda p: read_span_samples(p / "pos_neg.json")),
        Reader("sentences", {"sent.json": json_file(wholes)}, lambda p: read_sentence_samples(p / "sent.json")),
        Reader(
            "instruction data",
            {
                "gold.json": json_file(
                    [
                        {"id": "a", "image": "1.png", "conversations": TURNS},
                        {"id": "b", "image": ["1.png"], "conversations": TURNS[1:]},
                        {"id": "c", "conversations": []},
                    ]
                ),
                "1.png": Path(__file__),
            },
            lambda p: read_gold(str(p / "gold.json"), p, 10),
        ),
    ]


def truth_readers() -> list[Reader]:
    """Ground truth, word lists, sidecars, settings."""
    parser = ChairParser()
    gold = json_file({"42": ["dog", "bench"], "7": ["cat"]})
    words = b"dog, puppy\ncat, kitten\nbench\nbus\n"
    noted = {
        "thresholds": {"hallucinated": 21.5, "grounded": 30.25, "sentence": 25.5},
        "prompt": "Describe.",
        "decoding": {"num_beams": 1},
    }
    auto = ThresholdArguments(hal_clip_thres="auto", norm_clip_thres="auto", sentence_clip_thres="auto")
    split = {"seed": 0, "train": ["1.jpg"], "valid": ["2.jpg"]}
    return [
        Reader(
            "COCO",
            {"instances.json": json_file(COCO), "captions.json": json_file(COCO_CAPTIONS)},
            read_annotations,
            share=2,
        ),
        Reader(
            "gold of insight",
            {"gold.json": gold, "words.txt": words},
            lambda p: truth_from_file(p / "gold.json", read_vocabulary(p / "words.txt")),
        ),
        Reader("gold of CHAIR", {"gold.json": gold}, lambda p: truth_from_file(p / "gold.json", parser)),
        Reader(
            "synonyms of CHAIR",
            {"s.txt": words},
            lambda p: [load_word_lists(m, p / "s.txt") for m in ("standard", "paper")],
        ),
        Reader(
            "noted thresholds",
            {"x.jsonl.manifest.json": json_file(noted)},
            lambda p: resolve(auto, p / "x.jsonl", False),
        ),
        Reader(
            "captioning settings",
            {"x.jsonl.manifest.json": json_file(noted)},
            lambda p: eval_auto.captioning_settings(p / "x.jsonl"),
        ),
        Reader(
            "settings of a result",
            {"x.jsonl.settings.json": json_file({"prompt": "Describe.", "beams": 1}), "x.jsonl": b""},
            lambda p: check_settings(p / "x.jsonl", {"prompt": "Describe.", "beams": 1}),
        ),
        Reader(
            "last checkpoint",
            {
                "last.json": json_file({"step": 2, "finished": True, "checkpoint": "checkpoint-000002"}),
                "checkpoint-000002/x": Path(__file__),
                "checkpoint-000001/x": Path(__file__),
                "checkpoint-000000/x": Path(__file__),
            },
            lambda p: RunFolder(p).pointer(),
        ),
        Reader(
            "split of a run",
            {"split.json": json_file(split)},
            lambda p: RunFolder(p).keep_split(0, ["1.jpg"], ["2.jpg"]),
        ),
        Reader(
            "reference losses",
            {"reference_losses.json": json_file({"1.jpg/0": [1.5, 2.25], "1.jpg/1": [0.5]})},
            lambda p: read_references(p / "reference_losses.json", {"1.jpg/0": 2, "1.jpg/1": 1}),
        ),
        Reader(
            "config file",
            {"run.yaml": CONFIG},
            lambda p: read_config(
                str(p / "run.yaml"), "caption", ("seed", "model", "train_lr", "captions_per_image", "dry_run")
            ),
        ),
        Reader("YAML", {"any.yaml": CONFIG}, lambda p: read_yaml(p / "any.yaml"), infinite=True),
    ]


CONFIG = b"seed: 3\nmodel: llava\ntrain_lr: 1e-4\ndry_run: no\ncaption:\n  captions_per_image: 2\n"
YES_NO = {
    "question_id": 1,
    "image": NAME,
    "text": "Is there a dog in the image?",
    "label": "yes",
}
CHOICES = {
    "question": "Which is it?\nContext: none",
    "choices": ["a", "b"],
    "answer": 1,
    "hint": "",
    "image": "",
    "split": "test",
}


COUNTS = [[1, *((row + 2 * at) % 3 for at in range(1, len(COLUMNS)))] for row in range(3)]


def result_json() -> dict[str, Any]:
    """A small result with its items."""
    return {
        "task": "chair",
        "definition": "standard",
        "version": "1",
        "n": 3,
        "scores": {"chair_s": 0.5},
        "manifest": {"prompt": "Describe.", "captioning": {"num_beams": 1}},
        "units": {"ids": ["7", "8", "42"], "columns": list(COLUMNS), "counts": COUNTS},
    }


def benchmark_readers() -> list[Reader]:
    """Questions and answers of the benchmarks, in the layouts of other tools, and results."""
    # Answers and choices may be numbers, which are spelled out; "1" is an id that stands as a key.
    spelled = IDS | {
        "1",
        "2",
        "candidates",
        "correct_ans",
        "img_path",
        "answer",
        "label",
        "prediction",
        "response",
        "output",
        "text",
        "choices",
        "outputs",
        "results",
    }

    def reader(name: str, file: str, data: bytes, read: Callable[[Path], object], share: float = 1.0) -> Reader:
        return Reader(name, {file: data}, lambda p: read(p / file), share, spelled, infinite=True)

    def answers(yes_no: bool) -> Callable[[Path], object]:
        return lambda path: read_answers(path, yes_no)

    table = (
        b"index\timage\tquestion\tprediction\tanswer\n1\t42.jpg\tIs there a dog?\tYes\tNo\n2\t7.jpg\tIs it?\tno\tNo\n"
    )
    conversation = [
        {
            "id": "1",
            "image": "1/image.png",
            "conversations": [{"from": "human", "value": "<image>\nWhich?\nA. a\nB. b"}, {"from": "gpt", "value": "B"}],
        }
    ]
    official = {
        "05515938": {"question": "Is it red?", "answer": "yes", "imageId": "2405722", "types": {"structural": "verify"}}
    }
    return [
        reader(
            "answer lines",
            "a.jsonl",
            json_lines(
                {"question_id": 1, "prompt": "Is it?", "text": "Yes."},
                {"question_id": 2, "prompt": "Is it?", "text": "No."},
            ),
            answers(True),
            2,
        ),
        reader("answer table", "a.tsv", table, answers(True), 2),
        reader("answer csv", "a.csv", table.replace(b"\t", b","), answers(True)),
        reader(
            "answer list",
            "a.json",
            json_file([{"question_id": "q1", "answer": "A", "image": NAME}, {"question_id": "q2", "answer": "3"}]),
            answers(False),
        ),
        reader(
            "answer log",
            "a.jsonl",
            json_lines(
                {
                    "doc_id": 0,
                    "doc": {"question_id": "7", "question": "Is it?", "answer": "yes"},
                    "target": "yes",
                    "filtered_resps": ["Yes"],
                }
            ),
            answers(True),
        ),
        reader(
            "POPE",
            "coco_pope_random.json",
            json_lines(YES_NO, {**YES_NO, "question_id": 2, "label": "no"}),
            pope_files.read_questions,
        ),
        reader("GQA official", "q.json", json_file(official), gqa_files.read_questions),
        reader(
            "GQA rows",
            "q.jsonl",
            json_lines({"question_id": "1", "question": "Is it red?", "answer": "yes", "image": "1.jpg"}),
            gqa_files.read_questions,
        ),
        reader(
            "GQA conversations",
            "q.json",
            json_file([{"question_id": 1, "image": ["gqa/1.jpg"], "conversations": TURNS[1:]}]),
            gqa_files.read_questions,
        ),
        reader(
            "ScienceQA problems",
            "problems.json",
            json_file({"1": CHOICES, "2": {**CHOICES, "image": "image.png"}}),
            sqa_files.read_questions,
        ),
        reader("ScienceQA conversations", "q.json", json_file(conversation), sqa_files.read_questions),
        reader(
            "ScienceQA answers",
            "a.json",
            json_file({"outputs": {"1": "The answer is B."}, "results": {"1": 1, "2": -1}}),
            sqa_files.read_sqa_answers,
        ),
        reader(
            "Q-Bench",
            "q.json",
            json_file(
                [{"img_path": "1.jpg", "question": "How clear?", "candidates": ["Good", "Bad"], "correct_ans": "Bad"}]
            ),
            qbench_files.read_questions,
        ),
        reader(
            "AMBER annotations",
            "ann.json",
            json_file(
                [
                    {"id": 1, "type": "generative", "truth": ["dog"], "hallu": ["cat"]},
                    {"id": 2, "type": "discriminative-attribute-state", "truth": "yes"},
                ]
            ),
            amber_files.read_annotations,
        ),
        reader(
            "AMBER queries",
            "q.json",
            json_file([{"id": 1, "image": "AMBER_1.jpg", "query": "Describe this image."}]),
            amber_files.read_queries,
        ),
        Reader(
            "AMBER words",
            {"relation.json": json_file({"dog": ["puppy"]}), "safe.txt": b"light\nview\n"},
            lambda p: amber_files.read_vocabulary(p / "relation.json", p / "safe.txt"),
        ),
        Reader(
            "MME",
            {"existence.txt": b"1.jpg\tIs there a dog?\tYes\tyes\n1.jpg\tIs there a cat?\tNo\tno\n"},
            lambda p: mme_files.read_folder(p, "--question_path"),
        ),
        Reader("results", {"one.json": json_file(result_json()), "two.json": json_file(result_json())}, _compared, 3),
    ]


def _compared(folder: Path) -> object:
    """Both results, and what their comparison gives."""
    one, two = read_result(folder / "one.json"), read_result(folder / "two.json")
    found, events = compare.compare(one, two, 0)
    return one, two, sorted(found), events is None


def model_readers(scratch: Path) -> list[Reader]:
    """Files beside weights. `scratch`: for what is made once."""
    model = load_model("llava")
    save_trained(model, scratch, [next(iter(model.trainable_parameters("connector")))])
    card, weights = (scratch / "trained.json").read_bytes(), scratch / "trained.safetensors"
    optimizer, schedule = _optimizer()
    save_state(scratch, optimizer, schedule)
    tower = json.loads((MINI_LLAVA / "config.json").read_bytes())["vision_config"] | {"model_type": "clip_vision_model"}
    bundled: dict[str, bytes | Path] = {
        path.name: path.read_bytes() if path.name in JSON_OF_MODEL else path for path in MINI_LLAVA.iterdir()
    }
    preprocessor = bundled["preprocessor_config.json"]
    return [
        Reader(
            "preprocessing", {"preprocessor_config.json": preprocessor}, lambda p: read_preprocessing(p, 112, "crop")
        ),
        Reader(
            "tower config",
            {"config.json": json_file(tower)},
            lambda p: str(build_tower(read_tower_config(p), str(p)).config.to_dict()),
        ),
        Reader(
            "index of shards",
            {
                "model.safetensors.index.json": json_file({"weight_map": {"a": "x.safetensors"}}),
                "x.safetensors": weights,
            },
            lambda p: sorted(open_folder(p, "model", "--llava_path").shapes().items()),
        ),
        Reader(
            "MiniGPT's YAML",
            {
                "cfg.yaml": b"model:\n  ckpt: x.pth\n  llama_model: llama\n  max_txt_len: 160\n  end_sym: '###'\n",
                "x.pth": weights,
                "vit/eva_vit_g.pth": weights,
                "llama/config.json": weights,
            },
            lambda p: find_files(None, p / "cfg.yaml", vit_path=p / "vit" / "eva_vit_g.pth"),
        ),
        Reader(
            "optimizer",
            {
                "optimizer.json": (scratch / "optimizer.json").read_bytes(),
                "optimizer.safetensors": scratch / "optimizer.safetensors",
            },
            _restored,
        ),
        Reader(
            "trained card",
            {"trained.json": card, "trained.safetensors": weights},
            lambda p: str(load_model("llava", ckpt=p).lora),
            share=0.3,
        ),
        Reader(
            "model folder",
            bundled,
            lambda p: load_model("llava", p).image_features(torch.zeros(1, 3, 112, 112)).shape,
            share=0.6,
        ),
    ]


JSON_OF_MODEL = ("config.json", "preprocessor_config.json", "generation_config.json", "tokenizer_config.json")


def _optimizer() -> tuple[torch.optim.Optimizer, Any]:
    """A small optimizer after one step, and its schedule."""
    weight = torch.nn.Parameter(torch.ones(2))
    optimizer = torch.optim.AdamW([weight], lr=0.01)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 2)
    weight.sum().backward()
    optimizer.step()
    schedule.step()
    return optimizer, schedule


def _restored(folder: Path) -> object:
    optimizer, schedule = _optimizer()
    load_state(folder, optimizer, schedule)
    optimizer.step()
    return optimizer.state_dict()["param_groups"], schedule.state_dict()


def all_readers(scratch: Path | None = None) -> Sequence[Reader]:
    """Every reader; those of models only with a folder for what they need."""
    readers = [*record_readers(), *truth_readers(), *benchmark_readers()]
    return [*readers, *model_readers(scratch)] if scratch else readers
