"""Loading what transformers loads itself, or saying in one line why a folder is nothing for `--model auto`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from common.errors import CheckpointError, MissingDependencyError, first_line
from common.files.hub import TOKENIZER_CONFIG, has_tokenizer, no_tokenizer
from common.files.json_text import shown
from common.files.storage import read_record, read_text
from common.models.checkpoints.causal_lm import ADAPTER
from common.models.checkpoints.files import open_folder
from common.paths import display
from common.progress import announce

# What `pip install 'efuf[processors]'` brings.
EXTRA = ("num2words",)
MERGES = "merges.txt"  # without which vocab.json says nothing
TEMPLATE = "chat_template.jinja"
OWN_CODE = "code that comes with the checkpoint; read that code, and if you trust it add --trust_remote_code"
USUAL = "AutoModelForImageTextToText"
FLAG = "--auto_path"
WANTED = f"give {FLAG} an image-text-to-text checkpoint"


def load_processor(path: Path, trust_remote_code: bool) -> Any:
    """The folder's processor of pictures and text.

    Raises CheckpointError for a folder without config, of another kind of model, without tokenizer, image processor or
    chat template; MissingDependencyError where the processor needs a package that is not here.
    """
    if not path.is_dir():
        raise CheckpointError(f"no checkpoint folder {display(path)}; give it with {FLAG}")
    config = _config(path, trust_remote_code)
    if not trust_remote_code:
        check_kind(config, display(path))
    processor = _processor(path, trust_remote_code)
    check_tokenizer(getattr(processor, "tokenizer", None), path)
    check_processor(processor, display(path))
    return processor


def load_weights(path: Path, dtype: torch.dtype, trust_remote_code: bool) -> tuple[Any, list[str]]:
    """The model, and the names of tensors that were drawn at random, as files have none of them or another shape.

    Raises CheckpointError for files that are missing or that transformers does not take.
    """
    try:
        lm, found = _auto_class(path, trust_remote_code).from_pretrained(
            str(path), dtype=dtype, trust_remote_code=trust_remote_code, output_loading_info=True
        )
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # transformers raises whatever its readers, its checks or torch raise
        if not (path / ADAPTER).is_file():
            open_folder(path, "model", FLAG)  # says it better where a file is missing
        raise _refused(path, error) from None
    return lm, [*found["missing_keys"], *(name for name, *_ in found["mismatched_keys"])]


def _auto_class(path: Path, trust_remote_code: bool) -> Any:
    """The class of transformers' that loads the model: where code comes with it, what that code is offered as."""
    from transformers import CONFIG_MAPPING, AutoModelForCausalLM, AutoModelForImageTextToText

    said = read_record(path / "config.json", dict[str, Any])
    offered = said.get("auto_map") or {}
    own = trust_remote_code and said.get("model_type") not in CONFIG_MAPPING and USUAL not in offered
    return AutoModelForCausalLM if own and AutoModelForCausalLM.__name__ in offered else AutoModelForImageTextToText


def _config(path: Path, trust_remote_code: bool) -> Any:
    """Raises CheckpointError for a config that transformers does not know, and for one that brings code of its own."""
    from transformers import CONFIG_MAPPING, AutoConfig, __version__

    where = path / "config.json"
    if not where.is_file():
        raise CheckpointError(f"no config.json in {display(path)}; {WANTED}")
    said = read_record(where, dict[str, Any])
    kind = said.get("model_type")
    if not isinstance(kind, str | None):
        raise CheckpointError(f"{display(where)}: model_type is {shown(kind)}, not a name; copy it again")
    if kind not in CONFIG_MAPPING and said.get("auto_map") and not trust_remote_code:
        raise CheckpointError(f"{display(path)} is of the type {kind}, which needs {OWN_CODE}")
    if kind not in CONFIG_MAPPING and not said.get("auto_map"):
        raise CheckpointError(
            f"transformers does not load {display(path)} as image-text-to-text: {__version__} knows no model type "
            f"{kind}; it may be too old for the checkpoint, or config.json is incomplete"
        )
    try:
        return AutoConfig.from_pretrained(str(path), trust_remote_code=trust_remote_code)
    except Exception as error:  # as in load_weights
        raise _refused(path, error) from None


def check_kind(config: Any, where: str) -> None:
    """Raise CheckpointError for a model that does not continue a text about a picture."""
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING

    kind, name = type(config), config.model_type
    if kind not in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING:
        what = "a text model, which sees no images" if kind in MODEL_FOR_CAUSAL_LM_MAPPING else "no image-text-to-text"
        raise CheckpointError(f"{where} is of the type {name}, {what}; {WANTED}")
    if config.is_encoder_decoder:
        raise CheckpointError(
            f"{where} is of the type {name}, an encoder-decoder: what it writes does not continue its prompt; {WANTED} "
            "with a decoder alone"
        )


def _processor(path: Path, trust_remote_code: bool) -> Any:
    from transformers import AutoProcessor

    try:
        processor = AutoProcessor.from_pretrained(str(path), trust_remote_code=trust_remote_code)
    except ImportError as error:
        raise missing_package(path, error) from None
    except Exception as error:  # as in load_weights
        if not has_tokenizer(path):
            raise no_tokenizer(path, FLAG) from None
        if "image processor" in str(error) and not (path / "preprocessor_config.json").is_file():
            raise _no_image_processor(display(path)) from None
        raise _refused(path, error) from None
    if not getattr(processor, "chat_template", None):
        processor.chat_template = _template(path, processor)
    return processor


def check_tokenizer(tokenizer: Any, path: Path) -> None:
    """Raise CheckpointError for one without files: transformers makes an empty one of some kinds then.

    Says where transformers' own special tokens are taken, as the file that names the release's is missing.
    """
    names: Mapping[str, str] = getattr(type(tokenizer), "vocab_files_names", None) or {}
    files = [name for name in dict.fromkeys(names.values()) if name != TOKENIZER_CONFIG]
    if files and not has_tokenizer(path) and not any((path / name).is_file() for name in files):
        raise no_tokenizer(path, FLAG, files)
    if (path / "tokenizer.json").is_file() and not (path / TOKENIZER_CONFIG).is_file():
        announce(
            f"no {TOKENIZER_CONFIG} in {display(path)}: the special tokens are those that a {type(tokenizer).__name__} "
            f"usually has, its end {getattr(tokenizer, 'eos_token', None)}; copy the file from the release"
        )


def _template(path: Path, processor: Any) -> Any:
    """Where a processor took no chat template: the file that some older ones leave lying there, or its tokenizer's."""
    if (path / TEMPLATE).is_file():
        return read_text(path / TEMPLATE)
    found = getattr(getattr(processor, "tokenizer", None), "chat_template", None)
    if found:
        announce(f"the processor of {display(path)} has no chat template; its tokenizer's is taken")
    return found


def missing_package(path: Path, error: ImportError) -> MissingDependencyError:
    """What to install for a processor that does not load."""
    named = re.search(r"pip install (?:-\S+ )*[\"'`]?([\w.-]+)", str(error)) or re.search(r"`(\w+)`", str(error))
    package = named[1] if named else ""
    how = "pip install 'efuf[processors]'" if package in EXTRA else f"pip install {package}"
    return MissingDependencyError(
        f"the processor of {display(path)} needs {package or 'a package that is not here'}: {first_line(error)}"
        + (f"; {how}" if package else "")
    )


def check_processor(processor: Any, where: str) -> None:
    """Raise CheckpointError for a processor that takes no images, or that has no chat template."""
    if getattr(processor, "image_processor", None) is None:
        if getattr(processor, "video_processor", None) is not None:
            raise CheckpointError(
                f"{where} takes videos only: {type(processor).__name__} has no image processor; {WANTED}"
            )
        raise _no_image_processor(where)
    if not getattr(processor, "chat_template", None):
        raise CheckpointError(f"the processor in {where} has no chat template; add {TEMPLATE}")


def _no_image_processor(where: str) -> CheckpointError:
    return CheckpointError(
        f"no image processor in {where}; copy preprocessor_config.json or processor_config.json from the release, or, "
        f"if it is a text model, {WANTED}"
    )


def _refused(path: Path, error: Exception) -> CheckpointError:
    if "ignore_mismatched_sizes" in str(error):
        return CheckpointError(
            f"tensors of {display(path)} are of another shape than its config.json says; is it that of these weights?"
        )
    if "trust_remote_code" in str(error):
        return CheckpointError(f"{display(path)} needs {OWN_CODE}")
    return CheckpointError(
        f"transformers does not load {display(path)} as image-text-to-text: {first_line(error)}{lacking(path)}"
    )


def lacking(path: Path | None) -> str:
    """What ends a message about a folder that does not work: files that nearly every release has, and this one not."""
    if path is None or not path.is_dir():
        return ""
    there = {file.name for file in path.iterdir()}
    halves = {"vocab.json", MERGES, "tokenizer.json"} & there == {"vocab.json"}
    names = [name for name in (TOKENIZER_CONFIG, MERGES if halves else "") if name and name not in there]
    return f"; {' and '.join(names)} missing, copy from the release" if names else ""
