"""What a model of transformers consists of is found by following a picture, whatever its parts are called."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from PIL import Image
from torch import nn
from transformers import CONFIG_MAPPING

from common.errors import CheckpointError, MissingDependencyError, UserError
from common.models import load_model
from common.models.anatomy import blocks_of
from common.models.families.auto_files import check_processor, missing_package
from common.models.families.checks.model_check import check_logits
from common.models.packed.layout import PackedImage
from common.models.weights.selection import parts_line, usual_adapters
from tests.families.building import write_family
from tests.families.exceptions import changes_of

# type -> connector, decoder, numbers a position, what else the decoder is given of the picture; read off their code.
KNOWN = {
    "qwen3_vl": ("model.visual.merger, model.visual.deepstack_merger_list", "model", 3, ("deepstack_visual_embeds",)),
    "llava_next": ("model.image_newline, model.multi_modal_projector", "model", 0, ()),
    "gemma3": ("model.multi_modal_projector", "model", 0, ()),
    "gemma4": ("model.embed_vision", "model", 1, ()),
    "mllama": ("model.multi_modal_projector", "model", 0, ("cross_attention_states",)),
    "llama4": ("vision_model.vision_adapter, multi_modal_projector", "", 0, ()),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of a tiny checkpoint, written at its first use."""
    made: dict[str, Path] = {}

    def write(name: str) -> Path:
        if name not in made:
            made[name] = tmp_path_factory.mktemp(name) / name
            write_family(made[name], name, changes_of(name))
        return made[name]

    return write


@pytest.mark.parametrize("name", list(KNOWN))
def test_the_connector_is_what_lies_between(name: str, folder: Callable[[str], Path]) -> None:
    connector, start, positions, given = KNOWN[name]
    model = load_model("auto", folder(name))
    found = model.anatomy  # type: ignore[attr-defined]
    assert found.decoder.startswith(start) and "language_model" in found.decoder
    assert (found.positions, found.given) == (positions, given)
    trained = model.set_trainable("connector")
    assert parts_line(model, trained) == connector
    assert not any(name.startswith("lm." + found.decoder) or ".layers." in name for name in trained)


BAD: dict[str, tuple[dict[str, object], str]] = {
    "code of its own": (
        {"model_type": "mystery_vl", "auto_map": {"AutoConfig": "configuration_m.C"}},
        "mystery_vl, which needs code that comes with the checkpoint.*--trust_remote_code",
    ),
    "unknown": ({"model_type": "mystery_vl"}, "knows no model type mystery_vl"),
    "no name": ({"model_type": []}, "model_type is \\[\\], not a name"),
    "text alone": ({"model_type": "llama", "architectures": ["LlamaForCausalLM"]}, "text model, which sees no images"),
    "encoder-decoder": ({"model_type": "t5gemma2"}, "t5gemma2, an encoder-decoder"),
    "another kind": ({"model_type": "clip", "vision_config": {}, "text_config": {}}, "clip, no image-text-to-text"),
}


@pytest.mark.parametrize("case", list(BAD))
def test_a_folder_that_is_nothing_for_auto_says_why(case: str, folder: Callable[[str], Path], tmp_path: Path) -> None:
    shutil.copytree(folder("qwen3_vl"), tmp_path / "bad")
    changes, said = BAD[case]
    (tmp_path / "bad" / "config.json").write_text(json.dumps(changes))
    with pytest.raises(CheckpointError, match=said) as found:
        load_model("auto", tmp_path / "bad")
    assert "\n" not in str(found.value) and len(str(found.value)) < 400


def test_a_model_that_writes_no_text_token_by_token_is_refused(folder: Callable[[str], Path]) -> None:
    """A robot's policy; one whose logits are of a canvas, however long the text. Git has some of its image before."""
    with pytest.raises(CheckpointError, match="PI0ForConditionalGeneration, which writes no text"):
        load_model("auto", folder("pi0"))
    inputs = {"input_ids": torch.zeros(1, 5, dtype=torch.long)}

    def gives(logits: Callable[[int], int]) -> Callable[..., SimpleNamespace]:
        return lambda input_ids, **_: SimpleNamespace(logits=torch.zeros(1, logits(input_ids.shape[1]), 2))

    check_logits(gives(lambda length: 16 + length), inputs, 21, "git")
    with pytest.raises(CheckpointError, match=r"token by token .logits for 256 positions of 5 tokens"):
        check_logits(gives(lambda _: 256), inputs, 256, "there")


def test_a_template_that_an_older_processor_leaves_lying_there_is_taken(folder: Callable[[str], Path]) -> None:
    model = load_model("auto", folder("blip-2"))
    assert model.format_prompt("a").startswith("<s>user")


def test_heads_of_several_sizes_and_layers_that_share_keys_are_packed(folder: Callable[[str], Path]) -> None:
    """Gemma 4's config states no size of all heads; a trial pack gives its plain rows' losses."""
    assert load_model("auto", folder("gemma4")).packs


@pytest.mark.parametrize("name", ["step3p7", "mllama"])
def test_towers_of_other_kinds_are_left_out(name: str, folder: Callable[[str], Path]) -> None:
    """Blocks that run twice for a picture with crops, which some in a pack have; pictures looked at beside any text."""
    if name not in CONFIG_MAPPING:
        pytest.skip("transformers is older than the family")
    model: Any = load_model("auto", folder(name))
    layers = blocks_of(model.lm.get_submodule(model.anatomy.towers[0]))
    assert layers and model.packs and model.sees_apart and not any("forward" in layer.__dict__ for layer in layers)
    prompt, target = model.encode_prompt(model.format_prompt("a")), model.encode_caption("A dog.").ids
    groups = [PackedImage(number, prompt, (target,)) for number in range(2)]
    for sizes in (((56, 56), (112, 40)), ((112, 40), (56, 56))):
        pixels = model.preprocess([Image.linear_gradient("L").resize(size) for size in sizes])
        with torch.no_grad():
            expected = model.target_losses(pixels, [prompt] * 2, [target] * 2)
            for given in (pixels, model.kept(model.keep(pixels))):
                found = model.packed_losses(given, model.lay_out(given, groups, 0, 0, static=False))
                torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("lost", "said"),
    [
        ("processor_config.json", "no image processor"),
        ("chat_template.jinja", "no chat template"),
        ("tokenizer.json", "no tokenizer"),
        ("config.json", "no config.json"),
    ],
)
def test_a_file_that_is_missing_is_named(lost: str, said: str, folder: Callable[[str], Path], tmp_path: Path) -> None:
    shutil.copytree(folder("qwen3_vl"), tmp_path / "bad")
    (tmp_path / "bad" / lost).unlink()
    with pytest.raises(UserError, match=said):
        load_model("auto", tmp_path / "bad")


def test_a_template_without_pictures_and_a_processor_of_code_of_its_own(
    folder: Callable[[str], Path], tmp_path: Path
) -> None:
    (shutil.copytree(folder("llava_next"), tmp_path / "bad") / "chat_template.jinja").write_text("a question")
    with pytest.raises(CheckpointError, match=r"chat template of .* writes nothing for a picture; copy chat_template"):
        load_model("auto", tmp_path / "bad")
    file = tmp_path / "bad" / "processor_config.json"
    own = {"processor_class": "MysteryProcessor", "auto_map": {"AutoProcessor": "processing_m.MysteryProcessor"}}
    file.write_text(json.dumps(json.loads(file.read_text()) | own))
    with pytest.raises(CheckpointError, match=r"bad needs code that comes with the checkpoint; .*--trust_remote_code"):
        load_model("auto", tmp_path / "bad")


def test_videos_alone_and_a_missing_package() -> None:
    class OfVideos:
        video_processor = object()
        chat_template = "x"

    with pytest.raises(CheckpointError, match="takes videos only: OfVideos has no image processor"):
        check_processor(OfVideos(), "there")
    said = ImportError(
        "Package `num2words` is required to run SmolVLM processor. Install it with `pip install num2words`."
    )
    found = missing_package(Path("there"), said)
    assert isinstance(found, MissingDependencyError) and "pip install 'efuf[processors]'" in str(found)
    assert "pip install timm" in str(missing_package(Path("there"), ImportError("needs `timm`; pip install timm")))


def test_a_model_without_the_part_that_is_asked_for_names_its_parts(folder: Callable[[str], Path]) -> None:
    model = load_model("auto", folder("qwen3_vl"))
    model.connector_parts = ()
    with pytest.raises(
        UserError, match=r"has the towers model\.visual.*decoder model\.language_model.*--trainable lora"
    ):
        model.set_trainable("connector")


def test_adapters_go_to_those_of_the_usual_layers_that_there_are(folder: Callable[[str], Path]) -> None:
    model = load_model("auto", folder("gemma3"))
    layers = nn.ModuleDict({"wqkv": nn.Linear(2, 2), "up_proj": nn.Linear(2, 2)})
    model.lora_host = lambda: layers  # type: ignore[method-assign]
    assert usual_adapters(model).targets == ("up_proj",)
    del layers["up_proj"]
    assert usual_adapters(model).targets == ("wqkv",)
