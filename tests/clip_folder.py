"""A tiny random open_clip model in the layout of checkpoints/mini-clip, for tests without weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

WORDS = ("a", "photo", "containing", ".", "dog", "cat", "car", "red", "wooden", "table", "person", "bench", "kite")
SPECIAL = {"pad_token": "<pad>", "unk_token": "<unk>", "bos_token": "<s>"}
EOS = "</s>"  # open_clip pools the text at the highest id, so this symbol comes last


def config(image_size: int = 112, vocabulary: int = len(WORDS) + 4) -> dict[str, Any]:
    """`open_clip_config.json` of a two-layer model, 112 pixels in patches of 14."""
    return {
        "model_cfg": {
            "embed_dim": 32,
            "vision_cfg": {"image_size": image_size, "layers": 2, "width": 64, "head_width": 32, "patch_size": 14},
            "text_cfg": {
                "context_length": 24,
                "vocab_size": vocabulary,
                "hf_tokenizer_name": "tiny",
                "width": 64,
                "heads": 2,
                "layers": 2,
            },
        },
        "preprocess_cfg": {
            "mean": [0.48145466, 0.4578275, 0.40821073],
            "std": [0.26862954, 0.26130258, 0.27577711],
            "interpolation": "bicubic",
        },
    }


def save_tokenizer(folder: Path) -> None:
    """Word-level tokenizer files that `open_clip.get_tokenizer("local-dir:...")` finds."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    vocabulary = {word: i for i, word in enumerate([*SPECIAL.values(), *WORDS, EOS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"<s> $A {EOS}", special_tokens=[("<s>", vocabulary["<s>"]), (EOS, vocabulary[EOS])]
    )
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=EOS, **SPECIAL).save_pretrained(folder)


def make_clip_folder(folder: Path, seed: int = 0) -> Path:
    """Write the model folder and return it."""
    import open_clip
    import torch
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    values = config()
    torch.manual_seed(seed)
    model = open_clip.CLIP(**values["model_cfg"])
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)  # so that different images really differ
    save_file({k: v.contiguous() for k, v in model.state_dict().items()}, folder / "open_clip_model.safetensors")
    (folder / "open_clip_config.json").write_text(json.dumps(values), encoding="utf-8")
    save_tokenizer(folder)
    return folder
