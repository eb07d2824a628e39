"""The original layout of LLaVA-1.5 and ShareGPT4V: a flat folder, and the vision tower beside it or inside."""

from __future__ import annotations

from common.models.clip_tower import CLIP_VISION
from common.models.llama import LLAMA
from common.models.state_dicts import KeyMap, rename

ORIGINAL_LAYOUT = (
    KeyMap((rename("model.mm_projector.{}", "connector.{}"),))
    + CLIP_VISION.prefixed("model.vision_tower.vision_tower.vision_model.", "vision.")
    + LLAMA.prefixed(module="lm.")
)
