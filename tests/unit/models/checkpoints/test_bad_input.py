"""Every mistake a user can make with files gets one line that names the value, where it came from, and what to do."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from common.errors import ArgumentError, CheckpointError, DataError
from common.models import load_model
from common.models.checkpoints.files import load_tensors, open_file
from tests.unit.models.conftest import Tiny
from tests.unit.models.tiny_auto import auto_tokenizer
from tests.unit.models.tiny_checkpoints import write_llava


class Payload:
    """Something that would run when unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return print, ("unpickled",)


@pytest.fixture
def copy(tiny: Callable[[str], Tiny], tmp_path: Path) -> Callable[[str], Path]:
    """A copy of a tiny checkpoint that a test may damage."""

    def make(name: str) -> Path:
        return Path(shutil.copytree(tiny(name).path, tmp_path / name))

    return make


def change_config(folder: Path, **values: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def change_shard(folder: Path, name: str, tensor: torch.Tensor | None) -> None:
    for path in folder.glob("pytorch_model-*.bin"):
        state = torch.load(path, weights_only=True)
        if name in state:
            state.pop(name)
            torch.save(state | ({} if tensor is None else {name: tensor}), path)


@pytest.mark.parametrize(
    ("asked", "given", "names"),
    [
        ("owl", "llava", "LlavaLlamaForCausalLM checkpoint, not one of owl.*--model llava"),
        ("llava", "owl", "MplugOwlForConditionalGeneration checkpoint, not one of llava.*--model owl"),
        ("llava", "share4v", "Share4VLlamaForCausalLM checkpoint, not one of llava.*--model share4v"),
        ("share4v", "llava", "LlavaLlamaForCausalLM checkpoint, not one of share4v.*--model llava"),
    ],
)
def test_a_wrong_folder_names_both(asked: str, given: str, names: str, tiny: Callable[[str], Tiny]) -> None:
    with pytest.raises(CheckpointError, match=names):
        load_model(asked, tiny(given).path)


def test_a_wrong_llama_folder(tiny: Callable[[str], Tiny]) -> None:
    with pytest.raises(CheckpointError, match="not one of minigpt"):
        tiny("minigpt").load(llama_path=tiny("owl").path)


@pytest.mark.parametrize("name", ["llava", "share4v", "owl", "auto"])
def test_a_missing_folder_names_the_flag(name: str, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=f"nowhere.*--{name}_path"):
        load_model(name, tmp_path / "nowhere")


def test_a_missing_shard_is_named(copy: Callable[[str], Path]) -> None:
    folder = copy("owl")
    (folder / "pytorch_model-00002-of-00002.bin").unlink()
    with pytest.raises(CheckpointError, match=r"shard pytorch_model-00002-of-00002.bin .*is missing"):
        load_model("owl", folder)


@pytest.mark.parametrize(
    ("tensor", "message"),
    [
        (None, r"1 tensors are missing from .*, e.g. the one for lm.model.norm.weight"),
        (torch.ones(7), r"lm.model.norm.weight has shape \[7\], the configuration wants \[48\]"),
    ],
)
def test_missing_tensor_and_wrong_shape(tensor: torch.Tensor | None, message: str, copy: Callable[[str], Path]) -> None:
    folder = copy("owl")
    change_shard(folder, "language_model.model.norm.weight", tensor)
    with pytest.raises(CheckpointError, match=message):
        load_model("owl", folder)


def test_a_strange_tensor_is_not_passed_over(copy: Callable[[str], Path]) -> None:
    folder = copy("llava")
    path = folder / "pytorch_model-00002-of-00002.bin"
    torch.save(torch.load(path, weights_only=True) | {"model.resampler.weight": torch.ones(2)}, path)
    with pytest.raises(CheckpointError, match=r"does not have, e.g. model.resampler.weight"):
        load_model("llava", folder)


def test_a_deeper_file_than_its_config(copy: Callable[[str], Path]) -> None:
    folder = copy("llava")
    change_config(folder, num_hidden_layers=1)
    with pytest.raises(CheckpointError, match=r"lm.model.layers.1.*configuration has no place"):
        load_model("llava", folder)


def test_vocabulary_rows_against_config(copy: Callable[[str], Path]) -> None:
    folder = copy("llava")
    change_config(folder, vocab_size=300)
    with pytest.raises(CheckpointError, match="400 vocabulary rows against vocab_size 300"):
        load_model("llava", folder)


def test_vocabulary_against_tokenizer(copy: Callable[[str], Path]) -> None:
    folder = copy("llava")
    change_config(folder, vocab_size=300)
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        change_shard(folder, name, torch.zeros(300, 48))
    with pytest.raises(CheckpointError, match="tokenizer has 400 ids, the embedding 300 rows"):
        load_model("llava", folder)


@pytest.mark.parametrize("name", ["llava", "share4v"])
def test_a_tower_that_is_not_there_names_the_flag(name: str, tmp_path: Path, tokenizer_file: Path) -> None:
    write_llava(tmp_path / "model", tokenizer_file, name)
    change_config(tmp_path / "model", mm_vision_tower="openai/clip-vit-large-patch14-336")
    with pytest.raises(CheckpointError, match=f"openai/clip-vit-large-patch14-336.*--{name}_vit_path"):
        load_model(name, tmp_path / "model")
    with pytest.raises(CheckpointError, match=f"no vision tower folder elsewhere.*--{name}_vit_path"):
        load_model(name, tmp_path / "model", vit_path="elsewhere")
    change_config(tmp_path / "model", mm_vision_tower=None)
    with pytest.raises(CheckpointError, match=f"names no vision tower.*--{name}_vit_path"):
        load_model(name, tmp_path / "model")


def test_a_tower_of_another_kind(tiny: Callable[[str], Tiny]) -> None:
    with pytest.raises(CheckpointError, match="no CLIP vision tower"):
        tiny("llava").load(vit_path=tiny("owl").path)


def test_a_pickle_is_refused_and_names_its_object(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "evil.pth"
    torch.save({"model": {"w": torch.ones(1)}, "extra": Payload()}, path)
    with pytest.raises(CheckpointError, match=r"evil.pth holds \S*print.*safetensors") as caught:
        load_tensors(path)
    assert "\n" not in str(caught.value) and "unpickled" not in capsys.readouterr().out


def test_a_namespace_of_arguments_is_allowed(tmp_path: Path) -> None:
    import argparse

    torch.save({"model": {"w": torch.ones(1)}, "args": argparse.Namespace(lr=1e-5)}, tmp_path / "a.pth")
    assert list(load_tensors(tmp_path / "a.pth")) == ["w"]


@pytest.mark.parametrize("content", [b"", b"version https://git-lfs.github.com/spec/v1\n", b"PK\x03\x04 cut short"])
@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.safetensors"])
def test_damaged_weights_are_named(name: str, content: bytes, copy: Callable[[str], Path]) -> None:
    folder = copy("owl")
    for path in folder.glob("pytorch_model*"):
        path.unlink()
    (folder / name).write_bytes(content)
    with pytest.raises(CheckpointError, match=name):
        load_model("owl", folder)


def test_no_weights_no_tensors_no_index(copy: Callable[[str], Path]) -> None:
    folder = copy("owl")
    (folder / "pytorch_model.bin.index.json").write_text("{}")
    with pytest.raises(CheckpointError, match="no weight_map"):
        load_model("owl", folder)
    for path in folder.glob("pytorch_model*"):
        path.unlink()
    with pytest.raises(CheckpointError, match=r"no weights of the owl in .*looked for"):
        load_model("owl", folder)
    torch.save({"epoch": 3}, folder / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match="holds no tensors"):
        load_model("owl", folder)


def test_old_style_files_are_read(tmp_path: Path) -> None:
    torch.save({"w": torch.ones(3)}, tmp_path / "old.bin", _use_new_zipfile_serialization=False)
    assert [(name, t.tolist()) for name, t in open_file(tmp_path / "old.bin", "x", "--x")] == [("w", [1, 1, 1])]


def test_an_image_with_a_zero_side(tiny: Callable[[str], Tiny]) -> None:
    for name in ("llava", "owl", "minigpt"):
        with pytest.raises(DataError, match="zero side"):
            tiny(name).load().preprocess([Image.new("RGB", (3, 0))])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"vit_path": "no.pth"}, r"no vision encoder file no.pth.*--minigpt_vit_path"),
        ({"llama_path": "no"}, r"no Llama folder no.*--minigpt_llama_path"),
        ({"vit_num_heads": 5}, "5 heads do not divide its hidden size 32; give vit_num_heads"),
        ({"qformer_num_heads": 5}, "5 heads do not divide its hidden size 24; give qformer_num_heads"),
        ({"config": "no.yaml"}, r"no file no.yaml \(from --minigpt_train_cfg\)"),
    ],
)
def test_minigpt_names_what_is_wrong(change: dict[str, Any], message: str, tiny: Callable[[str], Tiny]) -> None:
    with pytest.raises((CheckpointError, DataError), match=message):
        tiny("minigpt_v1").load(**change)


def test_minigpt_without_its_qformer(copy: Callable[[str], Path]) -> None:
    folder = copy("minigpt_v1")
    (folder / "blip2_pretrained_flant5xxl.pth").unlink()
    with pytest.raises(CheckpointError, match=r"projects 24 features.*--minigpt_qformer_path"):
        load_model("minigpt", folder, vit_num_heads=4)
    with pytest.raises(CheckpointError, match=r"no projection file.*--minigpt_path"):
        load_model("minigpt", None)
    (folder / "bad.yaml").write_text("a: [")
    with pytest.raises(CheckpointError, match="not YAML"):
        load_model("minigpt", folder, config=folder / "bad.yaml")


def test_swapped_minigpt_files(tiny: Callable[[str], Tiny]) -> None:
    folder = tiny("minigpt_v1").path
    with pytest.raises(CheckpointError, match=r"patch_embed.proj.weight; it is not the EVA ViT-g file"):
        tiny("minigpt_v1").load(vit_path=folder / "blip2_pretrained_flant5xxl.pth")
    with pytest.raises(CheckpointError, match=r"query_tokens; it is not a BLIP-2 Q-Former file"):
        tiny("minigpt_v1").load(qformer_path=folder / "eva_vit_g.pth")


def test_unknown_settings_and_projectors(copy: Callable[[str], Path], tiny: Callable[[str], Tiny]) -> None:
    with pytest.raises(ArgumentError, match=r"llava takes no setting vit_pth; did you mean vit_path\?"):
        tiny("llava").load(vit_pth="x")
    folder = copy("llava")
    change_config(folder, mm_projector_type="ldpnet")
    with pytest.raises(CheckpointError, match="mm_projector_type ldpnet is not supported"):
        load_model("llava", folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"vision_config": {"model_type": "siglip_vision_model"}}, "encoder siglip_vision_model.*--model auto"),
        ({"projector_hidden_act": "relu"}, "projector relu.*--model auto"),
        ({"architectures": ["LlavaNextForConditionalGeneration"]}, "LlavaNext.*not one of llava.*--model auto"),
        ({"text_config": {"model_type": "mistral"}}, "mistral decoder, not a Llama.*--model auto"),
    ],
)
def test_relatives_of_llava_are_sent_to_auto(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    base = {"architectures": ["LlavaForConditionalGeneration"], "text_config": {}, "vision_config": {}}
    (tmp_path / "config.json").write_text(json.dumps(base | change))
    auto_tokenizer("internvl").save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match=message):
        load_model("llava", tmp_path)


def test_a_tower_may_leave_its_type_out(copy: Callable[[str], Path]) -> None:
    folder = copy("share4v")
    path = folder / "tower" / "config.json"
    values = json.loads(path.read_text())
    values.pop("model_type")
    path.write_text(json.dumps(values))
    assert load_model("share4v", folder).preprocessing.crop == 28
