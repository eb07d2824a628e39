"""Pretrain checkpoints/mini-clip from nothing: `python dataset/mini/pretrain_clip.py` (one GPU, minutes).

A plain open_clip model learns which objects a picture contains (a sigmoid loss over pictures and object names, as in
SigLIP), after its vision tower has learned what is where. CLIP on photos separates present objects from hallucinated
ones with an AUROC of about 0.77; a scorer that is perfect here would hide that. Training therefore stops as soon as
the AUROC between present and typical but absent objects, on images drawn for this purpose, reaches `--target_auroc`.
"""

from __future__ import annotations

import sys

if __name__ == "__main__" and not __package__:
    sys.path[0] += "/../.."  # run as a file: this checkout goes before whatever is installed

if __name__ == "__main__":
    import common.interrupts  # noqa: F401

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from common.args import flag, parse, seed_flag
from common.cli import run
from common.files.storage import whole_file, write_json
from common.paths import MINI_CLIP, display
from common.progress import announce
from dataset.mini.categories import CATEGORIES
from dataset.mini.corpus import Corpus, draw_corpus, tokenizer_texts, visits_of
from dataset.mini.layout import IMAGE_SIZE
from dataset.mini.normalise import MEAN, STD, normalise
from dataset.mini.pretrained import pretrained_folder
from dataset.mini.vision_warmup import PatchDataset, train_vision

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerFast

PROMPT = "A photo containing {}."
CONTEXT = 48
PRIOR = 3.0  # subtracted from the logits: a name is in one picture of twenty
CATEGORY_NUMBER = {category.name: number for number, category in enumerate(CATEGORIES)}


@dataclass
class ClipArguments:
    """Size, length and quality of the pretraining."""

    images: int = flag(60_000, "images to draw")
    vision_steps: int = flag(400, "optimiser steps of the vision tower alone")
    steps: int = flag(3000, "most optimiser steps against names")
    batch_size: int = flag(512, "pairs a step")
    learning_rate: float = flag(5e-4, "after 100 steps of warm-up, constant")
    target_auroc: float = flag(0.83, "stop when the held-out AUROC reaches this")
    eval_every: int = flag(25, "steps between two looks at the AUROC")
    seed: int = seed_flag("seed of images, texts and weights")
    output_dir: str = flag(str(MINI_CLIP), "folder to write")
    workers: int = flag(8, "processes that feed the GPU")


def write_config(folder: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    """The open_clip folder without weights: `open_clip_config.json` and tokenizer."""
    tokenizer.save_pretrained(folder)
    config = {
        "model_cfg": {
            "embed_dim": 128,
            "vision_cfg": {
                "image_size": IMAGE_SIZE,
                "layers": 4,
                "width": 160,
                "head_width": 32,
                "patch_size": 14,
            },
            "text_cfg": {
                "context_length": CONTEXT,
                "vocab_size": len(tokenizer),
                "hf_tokenizer_name": "mini-clip",
                "width": 128,
                "heads": 4,
                "layers": 3,
            },
        },
        "preprocess_cfg": {"mean": MEAN, "std": STD, "interpolation": "bicubic", "resize_mode": "shortest"},
    }
    write_json(folder / "open_clip_config.json", config)


def object_names() -> tuple[list[str], np.ndarray]:
    """All names that captions use, and the category number of each."""
    pairs = {
        name: number
        for number, category in enumerate(CATEGORIES)
        for look in category.looks
        for forms in look.names
        for name in forms
    }
    return list(pairs), np.array(list(pairs.values()))


@dataclass
class PresenceDataset:
    """An image with what it contains."""

    corpus: Corpus
    visits: int

    def __len__(self) -> int:
        return len(self.corpus.examples) * self.visits

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Pixels [height, width, 3] uint8 and present [categories] float32, 1 where in the picture."""
        number = index % len(self.corpus.examples)
        present = np.zeros(len(CATEGORIES), dtype=np.float32)
        present[[CATEGORY_NUMBER[name] for name in self.corpus.examples[number].categories]] = 1
        return {"pixels": self.corpus.pixels[number], "present": present}


def held_out_auroc(model: Any, tokenize: Any, corpus: Corpus, device: torch.device) -> float:
    """AUROC of the scores of present against typical absent objects; images of the `tune` stream."""
    import torch
    from scipy.stats import rankdata

    names = sorted({name for e in corpus.examples for name in (*e.present, *e.absent)})
    with torch.no_grad():
        texts = model.encode_text(tokenize([PROMPT.format(n) for n in names]).to(device), normalize=True)
        pixels = normalise(torch.from_numpy(np.asarray(corpus.pixels)).to(device))
        scores = (model.encode_image(pixels, normalize=True) @ texts.T).float().cpu().numpy()  # [images, names]
    column = {name: i for i, name in enumerate(names)}

    rows = list(zip(scores, corpus.examples, strict=True))
    present = [row[column[name]] for row, example in rows for name in example.present]
    absent = [row[column[name]] for row, example in rows for name in example.absent]
    ranks = rankdata([*present, *absent])[: len(present)]
    return float((ranks.sum() - len(present) * (len(present) + 1) / 2) / (len(present) * len(absent)))


def settings(args: ClipArguments, steps: int) -> Any:
    """Trainer settings that both stages share."""
    import torch
    from transformers import TrainingArguments

    return TrainingArguments(
        output_dir=str(Path(args.output_dir).with_name("mini-clip-pretraining")), max_steps=steps,
        per_device_train_batch_size=args.batch_size, learning_rate=args.learning_rate, warmup_steps=100,
        lr_scheduler_type="constant_with_warmup", weight_decay=0.1, max_grad_norm=1.0, seed=args.seed,
        bf16=torch.cuda.is_available(), dataloader_num_workers=args.workers, remove_unused_columns=False,
        logging_steps=100, save_strategy="no", report_to="none",
    )  # fmt: skip


def _patch_tokens(visual: Any) -> torch.nn.Module:
    """The open_clip tower as a module from pixels to patch features."""
    import torch

    class PatchTokens(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.visual = visual

        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            """[n, 3, height, width] -> [n, patches, width]."""
            self.visual.output_tokens = True
            try:
                return self.visual(pixels)[1]
            finally:
                self.visual.output_tokens = False

    return PatchTokens()


def presence_loss(model: Any, texts: torch.Tensor, numbers: torch.Tensor, inputs: dict[str, Any]) -> torch.Tensor:
    """Mean binary cross-entropy over pictures and names; the bias is the prior of a name."""
    import torch.nn.functional as F

    images, names, scale = model(normalise(inputs["pixels"]), texts)
    target = inputs["present"][:, numbers]  # [images, names]
    return F.binary_cross_entropy_with_logits((scale * images @ names.T).float() - PRIOR, target)


def train(model: Any, tokenize: Any, corpus: Corpus, held_out: Corpus, args: ClipArguments) -> None:
    """The vision tower alone, then against object names until the target AUROC."""
    import torch
    from transformers import Trainer, TrainerCallback

    names, numbers = object_names()
    texts = tokenize([PROMPT.format(name) for name in names])

    class PresenceTrainer(Trainer):
        def compute_loss(self, model: Any, inputs: dict[str, Any], **_: Any) -> torch.Tensor:
            """See `presence_loss`."""
            device = inputs["pixels"].device
            return presence_loss(model, texts.to(device), torch.as_tensor(numbers, device=device), inputs)

    class StopAtTarget(TrainerCallback):
        def on_step_end(self, _args: Any, state: Any, control: Any, **_: Any) -> None:
            """Look at the AUROC every `eval_every` steps."""
            if state.global_step % args.eval_every:
                return
            reached = held_out_auroc(model.eval(), tokenize, held_out, next(model.parameters()).device)
            model.train()
            announce(f"step {state.global_step}: held-out AUROC {reached:.3f}")
            control.should_training_stop = reached >= args.target_auroc

    def collate(rows: Sequence[dict[str, Any]]) -> dict[str, torch.Tensor]:
        """Stack a batch."""
        return {name: torch.from_numpy(np.stack([row[name] for row in rows])) for name in ("pixels", "present")}

    patches = PatchDataset(corpus.pixels, corpus.patches, visits_of(args.vision_steps, args))
    width = model.visual.transformer.width
    train_vision(_patch_tokens(model.visual), width, patches, settings(args, args.vision_steps))
    PresenceTrainer(
        model=model,
        args=settings(args, args.steps),
        train_dataset=PresenceDataset(corpus, visits_of(args.steps, args)),
        data_collator=collate,
        callbacks=[StopAtTarget()],
    ).train()


def main(argv: Sequence[str] | None = None) -> None:
    """Draw, train until the target, save in float16. Raises ArgumentError for a folder of something else."""
    (args,) = parse([ClipArguments], __doc__ or "", argv)
    target = pretrained_folder(args.output_dir, "pretrain_clip.py")
    target.check()
    with target.taken():
        pretrain(args)


def pretrain(args: ClipArguments) -> None:
    """All of it."""
    import open_clip
    import torch
    from safetensors.torch import save_file

    from dataset.mini.tokenizer import clip_tokenizer, train_bpe

    folder = Path(args.output_dir)
    folder.mkdir(parents=True, exist_ok=True)
    corpus = draw_corpus(args.images, args.seed + 1)
    held_out = draw_corpus(1000, args.seed + 100, split="tune")
    write_config(folder, clip_tokenizer(train_bpe([*tokenizer_texts(corpus), *[PROMPT] * 1000])))
    torch.manual_seed(args.seed)
    model = open_clip.create_model(f"local-dir:{folder}", load_weights=False)
    train(model, open_clip.get_tokenizer(f"local-dir:{folder}"), corpus, held_out, args)
    weights = {name: tensor.cpu().half().contiguous() for name, tensor in model.state_dict().items()}
    with whole_file(folder / "open_clip_model.safetensors", in_folder=True) as temporary:
        save_file(weights, temporary)
    announce(f"wrote {display(folder)}")


if __name__ == "__main__":
    run(main)
