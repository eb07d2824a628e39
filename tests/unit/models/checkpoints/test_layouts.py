"""Files of every form are read, every tensor is used or a named exception, and comes back bit by bit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from common.errors import CheckpointError
from common.models import load_model
from common.models.checkpoints.files import MAPPED_BYTES, TensorFiles, open_folder
from common.models.checkpoints.key_maps import KeyMap, Rule, rename
from common.models.families.owl import _pack, _unpack
from common.models.parts.eva import eva_layout, eva_sizes, resized_positions
from tests.unit.models.conftest import FAMILIES, Tiny
from tests.unit.models.tiny_checkpoints import Maker, write_llava, write_owl, write_weights
from tests.unit.models.tiny_minigpt import eva_state, write_minigpt

INSIDE = "model.vision_tower.vision_tower.vision_model."


def returned(model: Any) -> dict[str, torch.Tensor]:
    """The model's tensors under the names of the files. A separate tower has shorter names than one inside."""
    tensors = dict(model.layout.to_files((name, p.detach()) for name, p in model.named_parameters()))
    return {name.replace(INSIDE, "vision_model."): tensor for name, tensor in tensors.items()}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", FAMILIES)
def test_round_trip_is_bit_identical(
    name: str, dtype: torch.dtype, tmp_path: Path, tokenizer_file: Path, tiny: Callable[[str], Tiny]
) -> None:
    heads = {key: value for key, value in tiny(name).settings.items() if key.endswith("heads")}
    folder = tmp_path / "model"
    if name in ("llava", "share4v"):
        state = write_llava(folder, tokenizer_file, name, dtype=dtype)
    elif name == "owl":
        state = write_owl(folder, tokenizer_file, dtype=dtype)
    else:
        state = write_minigpt(folder, tokenizer_file, qformer=name == "minigpt_v1", dtype=dtype)
    # The separate tower of llava is float32, as published: compare it after the same cast.
    back = returned(load_model(tiny(name).name, folder, dtype=dtype, **heads))
    expected = {key: value.to(dtype) for key, value in state.items() if "inv_freq" not in key}
    assert back.keys() - {"ln_vision.weight", "ln_vision.bias"} == expected.keys() - {
        "ln_vision.weight",
        "ln_vision.bias",
    }
    for key, tensor in expected.items():
        assert torch.equal(back[key].view(torch.uint8), tensor.view(torch.uint8)), key


@pytest.mark.parametrize("form", ["bin", "sharded_safetensors", "safetensors"])
@pytest.mark.parametrize("name", ["llava", "owl"])
def test_every_form_of_file_gives_the_same_model(
    name: str, form: str, tmp_path: Path, tokenizer_file: Path, tiny: Callable[[str], Tiny]
) -> None:
    writer: Any = write_owl if name == "owl" else write_llava
    writer(tmp_path / "model", tokenizer_file, form=form)
    first, second = tiny(name).load().state_dict(), load_model(name, tmp_path / "model").state_dict()
    assert first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.parametrize("name", ["llava", "share4v"])
def test_a_tower_inside_wins(name: str, tmp_path: Path, tokenizer_file: Path) -> None:
    state = write_llava(tmp_path / "model", tokenizer_file, name, inside=True)
    model = load_model(name, tmp_path / "model", vit_path=tmp_path / "model" / "tower", vit_num_heads=4)
    weight = model.vision.embeddings.patch_embedding.weight
    assert torch.equal(weight, state[f"{INSIDE}embeddings.patch_embedding.weight"])
    assert not torch.equal(weight, state["vision_model.embeddings.patch_embedding.weight"])
    assert model.preprocessing.crop == 28


@pytest.mark.parametrize("place", ["inside the folder", "beside it"])
def test_the_tower_is_found_as_config_json_names_it(place: str, tmp_path: Path, tokenizer_file: Path) -> None:
    write_llava(tmp_path / "model", tokenizer_file)
    if place == "beside it":
        (tmp_path / "model" / "tower").rename(tmp_path / "tower")
    assert load_model("llava", tmp_path / "model").preprocessing.crop == 28


def test_the_projector_file_goes_over_the_index(tmp_path: Path, tokenizer_file: Path) -> None:
    write_llava(tmp_path / "model", tokenizer_file)
    path = tmp_path / "model" / "mm_projector.bin"
    other = {name: tensor + 1 for name, tensor in torch.load(path, weights_only=True).items()}
    torch.save(other, path)
    model = load_model("llava", tmp_path / "model")
    assert torch.equal(model.connector[0].weight, other["model.mm_projector.0.weight"])
    path.unlink()
    assert not torch.equal(load_model("llava", tmp_path / "model").connector[0].weight, model.connector[0].weight)


def test_minigpt_from_separate_files_folder_and_yaml(
    tiny: Callable[[str], Tiny], tmp_path: Path, images: list[Image.Image]
) -> None:
    folder = tiny("minigpt").path
    projection = folder / "pretrained_minigpt4_llama2_7b.pth"
    config = tmp_path / "eval.yaml"
    lines = ("arch: minigpt4", "has_qformer: False", "max_txt_len: 7", 'end_sym: "</s>"', f"ckpt: {projection}")
    body = "\n".join(
        f"  {line}" for line in (*lines, f"llama_model: {folder / 'Llama-2-7b-chat-hf'}", "image_size: 56")
    )
    config.write_text(f"model:\n{body}\ndatasets: {{}}\n")
    one = load_model("minigpt", folder, vit_num_heads=4)
    two = load_model(
        "minigpt",
        projection,
        vit_path=folder / "eva_vit_g.pth",
        llama_path=folder / "Llama-2-7b-chat-hf",
        vit_num_heads=4,
    )
    three = load_model("minigpt", config=config, vit_num_heads=4)
    pixels = one.preprocess(images)
    for other in (two, three):
        assert torch.equal(other.image_features(pixels), one.image_features(pixels))
    assert len(three.encode_target("9" * 20, True)) == 7


def test_minigpt_resizes_positions_to_another_image_size(tiny: Callable[[str], Tiny], tmp_path: Path) -> None:
    folder = tiny("minigpt").path
    config = tmp_path / "train.yaml"
    config.write_text("model: {has_qformer: false, image_size: 84}\n")
    model = load_model("minigpt", folder, config=config, vit_num_heads=4)
    assert model.preprocessing.crop == 84 and model.vision.vit.embeddings.position_embedding.shape == (1, 37, 32)
    constant = torch.ones(1, 17, 8)
    torch.testing.assert_close(resized_positions(constant, 6), torch.ones(1, 37, 8))
    assert resized_positions(constant, 4) is constant


def test_a_bert_config_tells_the_heads(tiny: Callable[[str], Tiny], tmp_path: Path) -> None:
    from transformers import BertConfig

    (tmp_path / "config.json").write_text('{"num_attention_heads": 3, "layer_norm_eps": 1e-12}')
    for source in (tmp_path, {"num_attention_heads": 3}, BertConfig(num_attention_heads=3, hidden_size=24)):
        model = load_model("minigpt", tiny("minigpt_v1").path, vit_num_heads=4, qformer_config=source)
        assert model.vision.qformer.config.num_attention_heads == 3


def test_the_projection_file_may_hold_more(tiny: Callable[[str], Tiny], tmp_path: Path) -> None:
    folder = tiny("minigpt_v1").path
    saved = torch.load(folder / "pretrained_minigpt4_7b.pth", weights_only=True)
    queries = torch.full((1, 5, 24), 0.25)
    strays = {"llama_model.model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(3), "query_tokens": queries}
    torch.save({"model": saved["model"] | strays, "optimizer": {"state": {}}, "epoch": 1}, tmp_path / "more.pth")
    rest = {"vit_path": folder / "eva_vit_g.pth", "llama_path": folder / "vicuna-7b"}
    rest["qformer_path"] = folder / "blip2_pretrained_flant5xxl.pth"
    model = load_model("minigpt", tmp_path / "more.pth", vit_num_heads=4, qformer_num_heads=3, **rest)
    assert torch.equal(model.vision.query_tokens, queries)


def test_a_further_block_of_the_encoder_is_not_used() -> None:
    state = eva_state(Maker())
    shapes = {name: tensor.shape for name, tensor in state.items()}
    shapes |= {f"blocks.{i}.norm1.weight": torch.Size([32]) for i in range(40)}
    sizes = eva_sizes(shapes, "file", 4, None)
    assert sizes.blocks == 39 and eva_layout(sizes).is_ignored("blocks.39.norm1.weight")


@settings(deadline=None)
@given(heads=st.integers(1, 5), size=st.integers(1, 4), columns=st.integers(1, 3))
def test_owl_packing_is_per_head_and_reversible(heads: int, size: int, columns: int) -> None:
    packed = torch.arange(heads * 3 * size * columns).reshape(-1, columns)
    q, k, v = _unpack(packed, heads)
    assert torch.equal(_pack([q, k, v], heads), packed)
    for h in range(heads):
        rows = slice(h * size, (h + 1) * size)
        start = h * 3 * size
        assert torch.equal(q[rows], packed[start : start + size])
        assert torch.equal(v[rows], packed[start + 2 * size : start + 3 * size])


def test_rules_go_both_ways_and_report_what_is_left() -> None:
    swap = Rule(("pair.{i}.a", "pair.{i}.b"), ("both.{i}",), lambda t: [torch.cat(list(t))], lambda t: t[0].chunk(2))
    layout = KeyMap((rename("x.{}", "y.{}"), swap), ("x.stray.{i}",)).prefixed("f.", "m.")
    one, two = torch.zeros(1), torch.ones(1)
    files = {"f.x.w": one, "f.pair.3.b": two, "f.x.stray.5": one, "f.pair.3.a": one}
    modules = dict(layout.to_modules(files.items(), "file"))
    assert {name: t.tolist() for name, t in modules.items()} == {"m.y.w": [0.0], "m.both.3": [0.0, 1.0]}
    assert {k: v.tolist() for k, v in layout.to_files(modules.items())} == {
        "f.x.w": [0.0],
        "f.pair.3.a": [0.0],
        "f.pair.3.b": [1.0],
    }
    assert not layout.is_ignored("f.x.stray.word")
    with pytest.raises(CheckpointError, match=r"1 tensors that this model does not have, e.g. f.z"):
        list(layout.to_modules({"f.z": one}.items(), "file"))
    with pytest.raises(CheckpointError, match=r"f.pair.3.a without"):
        list(layout.to_modules({"f.pair.3.a": one}.items(), "file"))


@pytest.mark.parametrize("form", ["bin", "safetensors"])
def test_mappings_are_renewed_without_losing_a_tensor(
    form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert MAPPED_BYTES <= 128 << 20
    monkeypatch.setattr("common.models.checkpoints.files.MAPPED_BYTES", 100)
    state = {f"t{i}": torch.full((7,), float(i)) for i in range(9)}
    write_weights(tmp_path, state, form)
    files: TensorFiles = open_folder(tmp_path, "x", "--x")
    assert [(name, tensor[0].item()) for name, tensor in files] == [(f"t{i}", float(i)) for i in range(9)]
    assert files.shapes() == {name: torch.Size([7]) for name in state}
