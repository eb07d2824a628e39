"""Tiny random checkpoints of what `AutoModelForImageTextToText` names, with processors that need no download."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from tests.families.mining import WORDS
from tests.families.shrinking import IMAGE, PATCH, tiny_config

TEMPLATE = (
    "{{% for m in messages %}}<s>{{{{ m['role'] }}}}\n{{% for c in m['content'] %}}"
    "{{% if c['type'] == 'image' %}}{image}{{% else %}}{{{{ c['text'] }}}}{{% endif %}}{{% endfor %}}</s>\n"
    "{{% endfor %}}{{% if add_generation_prompt %}}<s>assistant\n{{% endif %}}"
)
USUAL = ("bos_token", "eos_token", "pad_token", "unk_token")
VOCABULARY = 512


@dataclass(frozen=True)
class Changes:
    """What a family needs beyond what follows from its classes.

    Args:
        config: of its config, parts by dotted name; `...` leaves a value out.
        images, videos: settings of its image and video processor.
        processor: settings of its processor.
        tokens: named tokens of its tokenizer; `...` leaves a name out.
        marker: how its template writes an image.
        config_tokens: the tokens whose ids its config has, where they are not those of the same name.
        sibling: the model type whose processor it uses, where it has none of its own.
        processor_class: its processor, where transformers names none for the type.
        pieces: model types whose pieces its processor takes, by the name of the piece.
        codebook: names of the tokens that its images turn into, by number.
        config_alone: whether a config of these values is all that is written, as nothing else of it is read.
        impossible: why no checkpoint of it can be made here.
    """

    config: Mapping[str, Any] = field(default_factory=dict)
    images: Mapping[str, Any] = field(default_factory=dict)
    videos: Mapping[str, Any] = field(default_factory=dict)
    processor: Mapping[str, Any] = field(default_factory=dict)
    tokens: Mapping[str, Any] = field(default_factory=dict)
    marker: str = ""
    config_tokens: Mapping[str, str] = field(default_factory=dict)
    sibling: str = ""
    processor_class: str = ""
    pieces: Mapping[str, str] = field(default_factory=dict)
    codebook: Sequence[str] = ()
    config_alone: bool = False
    impossible: str = ""


def family_names() -> tuple[str, ...]:
    """The model types that the installed transformers loads as image-text-to-text."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES

    return tuple(MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES)


def write_family(folder: Path, name: str, changes: Changes) -> None:
    """Save model and processor of one model type into a folder."""
    if changes.config_alone:
        byte_tokenizer("", {}).save_pretrained(folder)
        (folder / "config.json").write_text(json.dumps({"model_type": name, **changes.config}), encoding="utf-8")
        return
    model, processor = build_family(name, changes)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)


def build_family(name: str, changes: Changes) -> tuple[Any, Any]:
    """A tiny random model of a type, and a processor for it."""
    from transformers import CONFIG_MAPPING, AutoModelForImageTextToText

    kind = CONFIG_MAPPING[name]
    processor = build_processor(CONFIG_MAPPING[changes.sibling or name], changes)
    ids = token_ids(kind, processor, changes.config_tokens)
    if changes.codebook:
        vocabulary = processor.tokenizer.get_vocab()
        ids["vocabulary_map"] = {token: vocabulary[token] for token in ("<image>", *changes.codebook)}
    config = tiny_config(kind, {**ids, **changes.config}, VOCABULARY)
    torch.manual_seed(1)
    model = AutoModelForImageTextToText.from_config(config)
    for parameter in model.parameters():
        if parameter.is_floating_point():
            parameter.data.normal_(0, 0.15)
    if model.can_generate():
        model.generation_config.eos_token_id = 2
    return model.eval(), processor


def build_processor(kind: type, changes: Changes) -> Any:
    """The processor of a config's class, over a tokenizer of bytes and the special tokens that its code speaks of."""
    from transformers.models.auto.processing_auto import PROCESSOR_MAPPING

    named = changes.processor_class
    found: Any = getattr(transformers, named) if named else PROCESSOR_MAPPING[kind]
    source = inspect.getsource(inspect.getmodule(found))  # type: ignore[arg-type]
    tokenizer = byte_tokenizer(source, changes.tokens, changes.codebook)
    pieces: dict[str, Any] = {}
    for piece in found.get_attributes():
        pieces[piece] = _piece(piece, kind, tokenizer, changes)
    settings = dict(changes.processor)
    taken = inspect.signature(found.__init__).parameters
    if "patch_size" in taken:
        settings.setdefault("patch_size", PATCH)
    if "vision_feature_select_strategy" in taken:
        settings.setdefault("vision_feature_select_strategy", getattr(kind(), "vision_feature_select_strategy", None))
        settings.setdefault("num_additional_image_tokens", 1)
    processor = found(**pieces, **{k: v for k, v in settings.items() if v is not ...})
    processor.chat_template = TEMPLATE.format(image=changes.marker or _marker(processor))
    return processor


def _marker(processor: Any) -> str:
    token = getattr(processor, "image_token", None) or getattr(processor.tokenizer, "image_token", None) or "<image>"
    start, end = (getattr(processor, f"vision_{side}_token", None) for side in ("start", "end"))
    return f"{start}{token}{end}" if isinstance(start, str) and isinstance(end, str) else str(token)


def _piece(piece: str, kind: type, tokenizer: Any, changes: Changes) -> Any:
    from transformers import CONFIG_MAPPING
    from transformers.models.auto.feature_extraction_auto import FEATURE_EXTRACTOR_MAPPING
    from transformers.models.auto.image_processing_auto import IMAGE_PROCESSOR_MAPPING
    from transformers.models.auto.video_processing_auto import VIDEO_PROCESSOR_MAPPING

    if "tokenizer" in piece:
        return tokenizer
    kind = CONFIG_MAPPING[changes.pieces[piece]] if piece in changes.pieces else kind
    if piece == "image_processor":
        return _image_processor(_first(IMAGE_PROCESSOR_MAPPING[kind]), changes.images)
    if piece == "video_processor":
        return _first(VIDEO_PROCESSOR_MAPPING[kind])(**changes.videos)
    return _first(FEATURE_EXTRACTOR_MAPPING[kind])()


def _first(found: Any) -> Any:
    """A mapping's class, where it may have several back ends."""
    if isinstance(found, Mapping):
        return found.get("torchvision") or next(iter(found.values()))
    return next(one for one in (found if isinstance(found, tuple) else (found,)) if one is not None)


def _image_processor(found: Any, changes: Mapping[str, Any]) -> Any:
    usual = found()
    small = {key: _small(getattr(usual, key, None)) for key in ("size", "crop_size", "max_image_size")}
    settings = {key: value for key, value in small.items() if value and not isinstance(getattr(usual, key), int)}
    if isinstance(getattr(usual, "patch_size", None), int):
        settings["patch_size"] = PATCH
    if isinstance(getattr(usual, "image_grid_pinpoints", None), list):
        settings["image_grid_pinpoints"] = [[IMAGE, 2 * IMAGE], [2 * IMAGE, IMAGE]]
    for key in ("max_patches", "max_image_tiles", "max_num_tiles"):
        if isinstance(getattr(usual, key, None), int):
            settings[key] = 2
    return found(**{key: value for key, value in {**settings, **changes}.items() if value is not ...})


def _small(size: Any) -> dict[str, int] | None:
    if size is None or isinstance(size, int):
        return None if size is None else {"height": IMAGE, "width": IMAGE}
    return {key: _side(key, value) for key, value in dict(size).items() if value is not None}


def _side(key: str, value: int) -> int:
    """A side, or where it is an area in pixels, an area."""
    if value < 4000:
        return IMAGE
    return IMAGE * IMAGE if "long" in key or "max" in key else 2 * PATCH * 2 * PATCH


def byte_tokenizer(source: str, named: Mapping[str, Any], more: Sequence[str] = ()) -> PreTrainedTokenizerFast:
    """A tokenizer of bytes and some words.

    Special tokens are those that a processor's code writes out or asks a tokenizer for, and `more`.
    """
    asked = sorted(set(re.findall(r"tokenizer\.(\w+_token)\b", source)) - {*USUAL, "add_bos_token", "add_eos_token"})
    written = re.findall(r"""["'](<[^"'\s{}>]{1,30}>|\[[A-Z_]+\])["']""", source)
    stated = dict(re.findall(r"""\b(\w+_token)\b[^=\n]{0,12}= *["'](<[^"'\s]{1,30}>|\[[A-Z_]+\])["']""", source))
    names = {name: named.get(name) or stated.get(name) or f"<{name}>" for name in asked} | dict(named)
    names = {name: token for name, token in names.items() if token is not ...}
    plain = Tokenizer(models.BPE())
    plain.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    plain.decoder = decoders.ByteLevel()
    special = list(dict.fromkeys(["<unk>", "<s>", "</s>", *names.values(), *written, "<image>", *more]))
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    plain.train_from_iterator(
        [f" {word}" for word in WORDS] * 2,
        trainers.BpeTrainer(
            vocab_size=VOCABULARY, special_tokens=special, initial_alphabet=alphabet, show_progress=False
        ),
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=plain,
        unk_token="<unk>",
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<unk>",
        extra_special_tokens=names,
    )


def token_ids(kind: type, processor: Any, named: Mapping[str, str]) -> dict[str, int]:
    """Ids of special tokens, under the names that a config has for them; some of them as they are `named`."""
    tokenizer = processor.tokenizer
    found = {key: int(tokenizer.get_vocab()[token]) for key, token in named.items()}
    for key in kind().to_dict():  # type: ignore[attr-defined]
        name = key.removesuffix("_id").removesuffix("_index")
        if not name.endswith("_token") or name in USUAL or key in named:
            continue
        known = getattr(processor, f"{name}_id", None)
        if isinstance(known, int) and 0 < known < VOCABULARY:
            found[key] = known
            continue
        token = getattr(processor, name, None) or getattr(tokenizer, name, None)
        if name == "image_token" and not isinstance(token, str):
            token = "<image>"
        if isinstance(token, str) and token in tokenizer.get_vocab():
            found[key] = int(tokenizer.get_vocab()[token])
    return found
