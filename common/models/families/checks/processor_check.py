"""Do a checkpoint's processor and its model mean the same image tokens? If not, say where they differ.

The processor writes as many placeholders into a text as it takes the encoder to give tokens. Both numbers follow from
settings that stand in two files, and people change one of them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from common.errors import CheckpointError
from common.files.storage import read_record
from common.models.anatomy import positions_of
from common.models.checkpoints.config_files import ProcessorValues
from common.models.text.tokenizers import TextTokenizer
from common.paths import display

CLASS_TOKENS = 1  # of a CLIP tower
STRATEGIES = ("default", "full")
A_COUNT = re.compile(r"num_\w*tokens|seq_len")  # of an image's placeholders, as processors name it
MOST_TOKENS = 1_000_000  # of an image, for a model that does not say how many positions it has


def check_llava_processor(folder: Path, config: Mapping[str, Any], patch: int, tokenizer: TextTokenizer) -> None:
    """Compare processor_config.json, if there is one, with config.json of a LLaVA in transformers' layout.

    Args:
        config: the values of config.json.
        patch: side of the tower's patches.
        tokenizer: that of the folder.

    Raises CheckpointError naming the first setting that differs, or that neither knows.
    """
    where, strategy = display(folder / "config.json"), config.get("vision_feature_select_strategy") or "default"
    if strategy not in STRATEGIES:
        raise CheckpointError(f"{where}: vision_feature_select_strategy {strategy} is none of {', '.join(STRATEGIES)}")
    path = folder / "processor_config.json"
    said = read_record(path, ProcessorValues) if path.is_file() else ProcessorValues()
    _compare(display(path), "patch_size", said.patch_size, patch)
    _compare(display(path), "vision_feature_select_strategy", said.vision_feature_select_strategy, strategy)
    _compare(display(path), "num_additional_image_tokens", said.num_additional_image_tokens, CLASS_TOKENS)
    token = said.image_token.get("content") if isinstance(said.image_token, Mapping) else said.image_token
    stated = config.get("image_token_id", config.get("image_token_index"))
    known = tokenizer.id_of(token or "<image>")
    if known >= 0 and known != tokenizer.unk_id:
        _compare(where, "image_token_id", stated, known, f"the tokenizer, for {token or '<image>'},")


def _compare(where: str, name: str, said: Any, right: Any, whose: str = "the model") -> None:
    if said is not None and said != right:
        raise CheckpointError(f"{where} says {name} {said}, {whose} has {right}; correct the file that is wrong")


def check_loaded_processor(processor: Any, config: Any, where: str) -> None:
    """Compare a processor and a config that transformers loaded, in what LLaVA's relatives state twice.

    The image token's id is not compared: of some families the processor's is what it looks for in a text (Gemma 3's
    beginning of an image), the config's what it writes there. See :func:`check_placeholders`.

    Raises CheckpointError naming the first setting that differs, or that no model could take.
    """
    _check_counts(processor, config, where)
    if not hasattr(processor, "num_additional_image_tokens"):
        return  # elsewhere patch_size may mean patches that are merged
    patch = getattr(getattr(config, "vision_config", None), "patch_size", None)
    if isinstance(patch, int):
        _compare(f"the processor of {where}", "patch_size", processor.patch_size, patch)
    strategy = getattr(config, "vision_feature_select_strategy", None)
    if strategy is not None:
        theirs = processor.vision_feature_select_strategy
        _compare(f"the processor of {where}", "vision_feature_select_strategy", theirs, strategy)


def _check_counts(processor: Any, config: Any, where: str) -> None:
    """More placeholders than positions would fill the memory with text before the model could refuse them."""
    most = positions_of(config) or MOST_TOKENS
    for name, value in vars(processor).items():
        if A_COUNT.search(name) and isinstance(value, int) and value > most:
            raise CheckpointError(
                f"the processor of {where} says {name} {value}, and the model has at most {most} positions; compare "
                "processor_config.json with the release"
            )


def check_placeholders(processor: Any, config: Any, where: str) -> None:
    """Compare the image tokens of a processor and a config that do not fit together: often the reason.

    Raises CheckpointError if they differ.
    """
    known = getattr(processor, "image_token_id", None)
    stated = getattr(config, "image_token_id", None)
    if isinstance(known, int) and isinstance(stated, int):
        _compare(f"the config of {where}", "image_token_id", stated, known, "its processor")
