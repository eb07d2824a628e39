"""Pretrain checkpoints/mini-llava from nothing: `python dataset/mini/pretrain_llava.py` (one GPU, minutes).

A plain LLaVA of 5 M parameters (CLIP vision tower, two-layer projector, Llama decoder, own tokenizer) learns to
caption the mini world, hallucinations included, and to answer yes/no questions about objects.
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

from common import prompts
from common.args import flag, parse, seed_flag
from common.cli import run
from common.files.storage import write_json
from common.paths import MINI_LLAVA, display
from common.progress import announce
from dataset.mini.corpus import TEMPLATE, Corpus, draw_corpus, tokenizer_texts, visits_of
from dataset.mini.layout import IMAGE_SIZE
from dataset.mini.normalise import MEAN, STD, normalise
from dataset.mini.pretrained import pretrained_folder
from dataset.mini.vision_warmup import GRID, PATCH, PatchDataset, train_vision

if TYPE_CHECKING:
    import torch
    from transformers import LlavaForConditionalGeneration, PreTrainedTokenizerFast, TrainingArguments

IMAGE_TOKENS = GRID**2
ROW = 224  # tokens; one length, so that nothing is compiled twice
QUESTION_SHARE = 0.12  # of the training targets; the rest are captions


@dataclass
class PretrainArguments:
    """Size and length of the pretraining."""

    images: int = flag(160_000, "images to draw")
    vision_steps: int = flag(2734, "optimiser steps of the vision tower alone")
    steps: int = flag(1600, "optimiser steps of the whole model")
    batch_size: int = flag(512, "images a step")
    learning_rate: float = flag(1e-3, "peak; 200 steps of warm-up, then cosine to zero")
    seed: int = seed_flag("seed of images, texts and weights")
    output_dir: str = flag(str(MINI_LLAVA), "folder to write")
    workers: int = flag(8, "processes that feed the GPU")


def build_model(vocabulary: int, image_token: int) -> LlavaForConditionalGeneration:
    """A LLaVA with random weights: 6 vision layers and 5 decoder layers of width 192."""
    from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

    vision = CLIPVisionConfig(
        hidden_size=192, intermediate_size=768, num_hidden_layers=6, num_attention_heads=6,
        image_size=IMAGE_SIZE, patch_size=PATCH, projection_dim=192, hidden_act="quick_gelu",
    )  # fmt: skip
    text = LlamaConfig(
        hidden_size=192, intermediate_size=512, num_hidden_layers=5, num_attention_heads=6, num_key_value_heads=6,
        vocab_size=vocabulary, max_position_embeddings=2048, rms_norm_eps=1e-5,
        bos_token_id=1, eos_token_id=2, pad_token_id=image_token + 1, tie_word_embeddings=False,
    )  # fmt: skip
    config = LlavaConfig(
        vision_config=vision, text_config=text, image_token_index=image_token, image_seq_length=IMAGE_TOKENS,
        vision_feature_layer=-1, vision_feature_select_strategy="default", projector_hidden_act="gelu",
        tie_word_embeddings=False,
    )  # fmt: skip
    return LlavaForConditionalGeneration(config)


class TextEncoder:
    """Turns (instruction, answer) into one row: prompt with image places, answer, end symbol; prompt not learned."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        self.tokenizer = tokenizer
        self.image = tokenizer.convert_tokens_to_ids("<image>")
        self.before = tokenizer(TEMPLATE[0]).input_ids
        self._prompts: dict[str, list[int]] = {}

    def prompt(self, instruction: str) -> list[int]:
        """Ids before the answer; kept, since few instructions recur."""
        if instruction not in self._prompts:
            after = self.tokenizer(TEMPLATE[1].format(prompt=instruction), add_special_tokens=False).input_ids
            self._prompts[instruction] = [*self.before, *[self.image] * IMAGE_TOKENS, *after]
        return self._prompts[instruction]

    def row(self, instruction: str, answer: str) -> tuple[list[int], int]:
        """(ids, length of the part without loss)."""
        prompt = self.prompt(instruction)
        answer_ids = self.tokenizer(answer, add_special_tokens=False).input_ids
        return [*prompt, *answer_ids, self.tokenizer.eos_token_id], len(prompt)


@dataclass
class PretrainDataset:
    """One random text of each image at each visit (map-style dataset for the Trainer)."""

    corpus: Corpus
    encoder: TextEncoder
    visits: int

    def __len__(self) -> int:
        return len(self.corpus.examples) * self.visits

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Pixels [height, width, 3] uint8, ids, and where the loss begins."""
        visit, number = divmod(index, len(self.corpus.examples))
        rng = np.random.default_rng((visit, number))
        example = self.corpus.examples[number]
        if rng.random() < QUESTION_SHARE:
            instruction, answer = example.questions[rng.integers(len(example.questions))]
        else:
            instruction = prompts.TRAIN if rng.random() < 0.5 else prompts.CAPTION_EVAL
            answer = example.captions[visit % len(example.captions)]
        ids, skipped = self.encoder.row(instruction, answer)
        return {"pixels": self.corpus.pixels[number], "ids": ids, "skipped": skipped}


def collate(rows: Sequence[dict[str, Any]]) -> dict[str, torch.Tensor]:
    """Right-pad to ROW tokens (causal attention needs no mask then); labels are -100 over prompt and padding."""
    import torch

    ids = torch.zeros((len(rows), ROW), dtype=torch.long)
    labels = torch.full((len(rows), ROW), -100)
    for i, row in enumerate(rows):
        row_ids = torch.tensor(row["ids"][:ROW])
        ids[i, : len(row_ids)] = row_ids
        labels[i, row["skipped"] : len(row_ids)] = row_ids[row["skipped"] :]
    pixels = torch.from_numpy(np.stack([row["pixels"] for row in rows]))
    return {"input_ids": ids, "labels": labels, "pixels": pixels}


def caption_loss(model: LlavaForConditionalGeneration, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
    """Mean cross-entropy over the answers; logits only there."""
    import torch.nn.functional as F

    hidden = model.model(input_ids=inputs["input_ids"], pixel_values=normalise(inputs["pixels"])).last_hidden_state
    wanted = inputs["labels"][:, 1:] != -100  # [n, ROW - 1]
    logits = model.lm_head(hidden[:, :-1][wanted]).float()  # [answer tokens, vocabulary]
    return F.cross_entropy(logits, inputs["labels"][:, 1:][wanted])


def settings(args: PretrainArguments, steps: int) -> TrainingArguments:
    """Trainer settings that both stages share."""
    from transformers import TrainingArguments

    return TrainingArguments(
        output_dir=str(Path(args.output_dir).with_name("mini-llava-pretraining")), max_steps=steps,
        per_device_train_batch_size=args.batch_size, learning_rate=args.learning_rate, warmup_steps=200,
        lr_scheduler_type="cosine", weight_decay=0.05, adam_beta2=0.98, max_grad_norm=1.0, seed=args.seed,
        bf16=_on_gpu(), dataloader_num_workers=args.workers, dataloader_persistent_workers=args.workers > 0,
        remove_unused_columns=False, logging_steps=100, save_strategy="no", report_to="none",
    )  # fmt: skip


def train(model: LlavaForConditionalGeneration, corpus: Corpus, encoder: TextEncoder, args: PretrainArguments) -> None:
    """The vision tower alone, then everything."""
    from transformers import Trainer
    from transformers.models.clip.modeling_clip import CLIPEncoderLayer
    from transformers.models.llama.modeling_llama import LlamaDecoderLayer

    class CaptionTrainer(Trainer):
        def compute_loss(self, model: Any, inputs: dict[str, Any], **_: Any) -> torch.Tensor:
            """See `caption_loss`."""
            return caption_loss(model, inputs)

    if _on_gpu():
        for module in model.modules():
            if isinstance(module, CLIPEncoderLayer | LlamaDecoderLayer):
                module.compile(dynamic=False)
    patches = PatchDataset(corpus.pixels, corpus.patches, visits_of(args.vision_steps, args))
    tower = model.model.vision_tower
    train_vision(_patch_tokens(tower), tower.config.hidden_size, patches, settings(args, args.vision_steps))
    texts = PretrainDataset(corpus, encoder, visits_of(args.steps, args))
    CaptionTrainer(model=model, args=settings(args, args.steps), train_dataset=texts, data_collator=collate).train()


def _patch_tokens(tower: Any) -> torch.nn.Module:
    """The tower as the projector sees it: last hidden states without the class token."""
    import torch

    class PatchTokens(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.tower = tower

        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            """[n, 3, height, width] -> [n, patches, hidden]."""
            return self.tower(pixel_values=pixels).last_hidden_state[:, 1:]

    return PatchTokens()


def _on_gpu() -> bool:
    import torch

    return torch.cuda.is_available()


def save(model: LlavaForConditionalGeneration, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Write the folder in float16: weights, config, tokenizer, preprocessing."""
    model.cpu().half().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    preprocessing = {
        "image_processor_type": "CLIPImageProcessor",
        "size": {"shortest_edge": IMAGE_SIZE},
        "crop_size": {"height": IMAGE_SIZE, "width": IMAGE_SIZE},
        "do_resize": True, "do_center_crop": True, "do_rescale": True, "do_normalize": True, "do_convert_rgb": True,
        "rescale_factor": 1 / 255, "resample": 3, "image_mean": MEAN, "image_std": STD,
    }  # fmt: skip
    write_json(folder / "preprocessor_config.json", preprocessing)


def main(argv: Sequence[str] | None = None) -> None:
    """Draw, train, save. Raises ArgumentError for a folder of something else."""
    (args,) = parse([PretrainArguments], __doc__ or "", argv)
    target = pretrained_folder(args.output_dir, "pretrain_llava.py")
    target.check()
    with target.taken():
        pretrain(args)


def pretrain(args: PretrainArguments) -> None:
    """All of it."""
    import torch

    from dataset.mini.tokenizer import llava_tokenizer, train_bpe

    announce(f"drawing {args.images} images ({args.images * 37_632 / 1e9:.1f} GB), then {args.steps} steps")
    corpus = draw_corpus(args.images, args.seed)
    tokenizer = llava_tokenizer(train_bpe(tokenizer_texts(corpus)))
    torch.manual_seed(args.seed)
    model = build_model(len(tokenizer), tokenizer.convert_tokens_to_ids("<image>"))
    train(model, corpus, TextEncoder(tokenizer), args)
    save(model, tokenizer, Path(args.output_dir))
    announce(f"wrote {display(args.output_dir)}")


if __name__ == "__main__":
    run(main)
