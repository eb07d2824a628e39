"""Full-size (or tiny) Qwen2.5-VL and Qwen3-VL with random weights, and a processor without files for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from zlib import crc32

import torch
from torch import Tensor

from common.models.families.auto import Auto
from common.models.parts.stretches import attend_to_stretches

IMAGE, VIDEO, START, END = 391, 392, 393, 394  # ids of the placeholders, which no caption has
BEFORE, AFTER = 14, 12  # tokens of the chat template and the prompt around the image


@dataclass(frozen=True)
class Size:
    """What of a configuration differs between full size and tiny."""

    text: dict[str, Any]
    vision: dict[str, Any]


SHARED = {"num_hidden_layers": 2, "vocab_size": 400, "max_position_embeddings": 4096}
SIZES: dict[str, dict[str, Size]] = {
    "qwen2_5_vl": {
        "full": Size(
            {
                "hidden_size": 3584,
                "intermediate_size": 18944,
                "num_hidden_layers": 28,
                "num_attention_heads": 28,
                "num_key_value_heads": 4,
                "vocab_size": 152064,
                "max_position_embeddings": 32768,
                "rope_parameters": {"rope_type": "default", "mrope_section": [16, 24, 24], "rope_theta": 1e6},
            },
            {
                "hidden_size": 1280,
                "intermediate_size": 3420,
                "depth": 32,
                "num_heads": 16,
                "out_hidden_size": 3584,
                "patch_size": 14,
                "fullatt_block_indexes": [7, 15, 23, 31],
                "window_size": 112,
            },
        ),
        "mini": Size(
            {
                **SHARED,
                "hidden_size": 64,
                "intermediate_size": 128,
                "num_attention_heads": 4,
                "num_key_value_heads": 2,
                "rope_parameters": {"rope_type": "default", "mrope_section": [2, 3, 3], "rope_theta": 1e6},
            },
            {
                "hidden_size": 32,
                "intermediate_size": 64,
                "depth": 2,
                "num_heads": 2,
                "out_hidden_size": 64,
                "patch_size": 14,
                "fullatt_block_indexes": [1],
                "window_size": 56,
            },
        ),
    },
    "qwen3_vl": {
        "full": Size(
            {
                "hidden_size": 4096,
                "intermediate_size": 12288,
                "num_hidden_layers": 36,
                "num_attention_heads": 32,
                "num_key_value_heads": 8,
                "head_dim": 128,
                "vocab_size": 151936,
                "max_position_embeddings": 32768,
                "rope_parameters": {"rope_type": "default", "mrope_section": [24, 20, 20], "rope_theta": 5e6},
            },
            {
                "hidden_size": 1152,
                "intermediate_size": 4304,
                "depth": 27,
                "num_heads": 16,
                "out_hidden_size": 4096,
                "patch_size": 16,
                "deepstack_visual_indexes": [8, 16, 24],
                "num_position_embeddings": 2304,
            },
        ),
        "mini": Size(
            {
                **SHARED,
                "hidden_size": 64,
                "intermediate_size": 128,
                "num_attention_heads": 4,
                "num_key_value_heads": 2,
                "head_dim": 16,
                "rope_parameters": {"rope_type": "default", "mrope_section": [4, 2, 2], "rope_theta": 1e6},
            },
            {
                "hidden_size": 32,
                "intermediate_size": 64,
                "depth": 3,
                "num_heads": 2,
                "out_hidden_size": 64,
                "patch_size": 16,
                "deepstack_visual_indexes": [0, 1],
                "num_position_embeddings": 64,
            },
        ),
    },
}
CLASSES = {"qwen2_5_vl": "Qwen2_5_VL", "qwen3_vl": "Qwen3VL"}


class BenchTokenizer:
    """One id a word; what a processor's tokenizer is asked for."""

    eos_token, bos_token, unk_token, pad_token_id = "</s>", None, None, 0

    def __len__(self) -> int:
        return 400

    def get_vocab(self) -> dict[str, int]:
        """The special symbols."""
        return {"</s>": 2}

    def convert_tokens_to_ids(self, token: str) -> int:
        """Of the end symbol, or none."""
        return self.get_vocab().get(token, 0)

    def encode(self, text: str, add_special_tokens: bool = True) -> list[int]:  # noqa: ARG002
        """Ids of a prompt: as many as Qwen's template takes."""
        return [*range(20, 20 + BEFORE - 1), START, IMAGE, END, *range(40, 40 + AFTER - 1)] if text == "ask" else [50]

    def __call__(self, text: str, **_: Any) -> Any:
        ids = [60 + sum(map(ord, word)) % 240 for word in text.split()]
        at, spans = 0, []
        for word in text.split():
            at = text.index(word, at)
            spans.append((at, at + len(word)))
            at += len(word)
        return {"input_ids": ids, "offset_mapping": spans}

    def decode(self, ids: Sequence[int], **_: Any) -> str:
        """The numbers."""
        return " ".join(map(str, ids))


class BenchProcessor:
    """Grids, placeholders and patches as Qwen's processor makes them; the patches are noise, the same for an image.

    Args:
        patch: side of one, of which 2 x 2 are merged.
    """

    chat_template = "ask"

    def __init__(self, patch: int) -> None:
        self.tokenizer = BenchTokenizer()
        self.patch = patch

    def apply_chat_template(self, *_: Any, **__: Any) -> str:
        """The whole prompt is one word."""
        return "ask"

    def __call__(self, text: Sequence[str], images: Sequence[Any], **_: Any) -> dict[str, Tensor]:
        flat = [image[0] if isinstance(image, list) else image for image in images]
        grids = [self._grid(image) for image in flat]
        rows = [self._ids(text_, grid) for text_, grid in zip(text, grids, strict=True)]
        ids = torch.tensor(rows)
        pixels = torch.cat([self._noise(image, grid) for image, grid in zip(flat, grids, strict=True)])
        return {
            "input_ids": ids,
            "attention_mask": torch.ones_like(ids),
            "mm_token_type_ids": (ids == IMAGE).int(),
            "pixel_values": pixels,
            "image_grid_thw": torch.stack(grids),
        }

    def _grid(self, image: Any) -> Tensor:
        unit = 2 * self.patch
        return torch.tensor([1, *(2 * max(1, round(side / unit)) for side in (image.height, image.width))])

    def _noise(self, image: Any, grid: Tensor) -> Tensor:
        draw = torch.Generator().manual_seed(crc32(image.resize((4, 4)).tobytes()))
        return torch.randn(int(grid.prod()), 3 * 2 * self.patch**2, generator=draw)

    def _ids(self, text: str, grid: Tensor) -> list[int]:
        plain = self.tokenizer.encode(text)
        at = plain.index(IMAGE)
        return plain[:at] + [IMAGE] * (int(grid.prod()) // 4) + plain[at + 1 :]


def random_auto(family: str, size: str, device: torch.device, dtype: torch.dtype) -> Auto:
    """A model of a family with random weights, made on the device."""
    import transformers

    sizes = SIZES[family][size]
    config = getattr(transformers, f"{CLASSES[family]}Config")(
        text_config={**sizes.text, "tie_word_embeddings": False, "pad_token_id": 0, "use_cache": True},
        vision_config=sizes.vision,
        image_token_id=IMAGE,
        video_token_id=VIDEO,
        vision_start_token_id=START,
        vision_end_token_id=END,
    )
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with device:
            lm = getattr(transformers, f"{CLASSES[family]}ForConditionalGeneration")(config)
    finally:
        torch.set_default_dtype(before)
    torch.manual_seed(0)
    for name, parameter in lm.named_parameters():
        parameter.data.normal_(0, 0.02) if parameter.ndim > 1 else parameter.data.fill_(float("bias" not in name))
    lm.generation_config.eos_token_id = 2
    attend_to_stretches(lm, device, dtype)
    return Auto.around(lm.eval(), BenchProcessor(sizes.vision["patch_size"]), None)
