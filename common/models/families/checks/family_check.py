"""Is a checkpoint folder of the model that was asked for? If not, say which it is."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from common.errors import CheckpointError
from common.paths import display

# `architectures` of config.json -> families that load it.
ARCHITECTURES: dict[str, tuple[str, ...]] = {
    "LlavaLlamaForCausalLM": ("llava",),
    "LlavaForConditionalGeneration": ("llava", "share4v"),
    "Share4VLlamaForCausalLM": ("share4v",),
    "MplugOwlForConditionalGeneration": ("owl",),
    "LlamaForCausalLM": ("minigpt",),
}
MODEL_TYPES: dict[str, tuple[str, ...]] = {
    "llava": ("llava", "share4v"),
    "share4v": ("share4v",),
    "mplug-owl": ("owl",),
    "llama": ("minigpt",),
}


def check_family(config: Mapping[str, Any], name: str, path: Path) -> None:
    """Raise CheckpointError, naming both models, unless config.json is of family `name`."""
    architectures = config.get("architectures") or []
    kind = architectures[0] if architectures else config.get("model_type")
    families = ARCHITECTURES.get(str(kind)) or MODEL_TYPES.get(str(kind)) or ()
    if name in families:
        return
    hint = f"load it with --model {families[0]}" if families else "load it with --model auto if transformers knows it"
    raise CheckpointError(f"{display(path)} is a {kind} checkpoint, not one of {name}; {hint}")
