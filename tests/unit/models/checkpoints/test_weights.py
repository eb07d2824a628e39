"""Which weights are taken, and which are none: against transformers' own choice, and against files that are damaged."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

from common.errors import CheckpointError, UserError
from common.models import load_model
from common.models.checkpoints import loading
from common.models.checkpoints.files import load_tensors, open_folder
from common.models.checkpoints.tensor_checks import is_finite
from tests.unit.models.conftest import Tiny
from tests.unit.models.tiny_auto import auto_tokenizer
from tests.unit.models.tiny_checkpoints import write_owl, write_weights

EMBEDDING = "language_model.model.embed_tokens.weight"
HEAD = "language_model.lm_head.weight"


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A LLaVA in the layout that transformers writes, tokenizer included."""
    folder = tmp_path_factory.mktemp("hf") / "model"
    tokenizer = auto_tokenizer("idefics3")
    text = LlamaConfig(
        hidden_size=32, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2, vocab_size=len(tokenizer)
    )
    sight = CLIPVisionConfig(
        hidden_size=32, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2, image_size=28, patch_size=14
    )
    image = tokenizer.convert_tokens_to_ids("<image>")
    config = LlavaConfig(text_config=text, vision_config=sight, image_token_id=image, image_seq_length=4)
    torch.manual_seed(0)
    LlavaForConditionalGeneration(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def variant(published: Path, folder: Path, state: dict[str, torch.Tensor], **config: Any) -> Path:
    """The published folder with other weights and values of config.json."""
    folder.mkdir()
    for path in published.iterdir():
        if path.suffix == ".json":
            (folder / path.name).write_bytes(path.read_bytes())
    values = json.loads((published / "config.json").read_text()) | config
    (folder / "config.json").write_text(json.dumps(values))
    save_file(state, str(folder / "model.safetensors"), metadata={"format": "pt"})
    return folder


def test_loading_is_announced_where_it_takes_a_while(
    published: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    load_model("llava", published)
    assert "loading" not in capsys.readouterr().err
    monkeypatch.setattr(loading, "LARGE", 1)
    load_model("llava", published)
    shown = capsys.readouterr().err
    tensors = len(load_file(published / "model.safetensors"))
    assert f"GiB of weights from {published} to cpu" in shown
    assert f"{tensors}/{tensors}" in shown


@pytest.mark.parametrize("top", [True, False])
@pytest.mark.parametrize("inside", [True, False])
@pytest.mark.parametrize("held", ["both", "equal", "embedding", "head"])
def test_heads_are_tied_as_transformers_ties_them(
    held: str, inside: bool, top: bool, published: Path, tmp_path: Path
) -> None:
    state = load_file(str(published / "model.safetensors"))
    if held == "equal":
        state[HEAD] = state[EMBEDDING].clone()
    elif held != "both":
        del state[HEAD if held == "embedding" else EMBEDDING]
    text = json.loads((published / "config.json").read_text())["text_config"] | {"tie_word_embeddings": inside}
    folder = variant(published, tmp_path / "model", state, tie_word_embeddings=top, text_config=text)
    if held in ("embedding", "head") and not (top or inside):
        with pytest.raises(CheckpointError, match="1 tensors are missing"):
            load_model("llava", folder)
        return
    ours, theirs = load_model("llava", folder), LlavaForConditionalGeneration.from_pretrained(folder)
    assert torch.equal(ours.lm.lm_head.weight, theirs.lm_head.weight)
    assert torch.equal(ours.lm.model.embed_tokens.weight, theirs.get_input_embeddings().weight)
    tied = ours.lm.lm_head.weight is ours.lm.model.embed_tokens.weight
    assert tied == (theirs.lm_head.weight is theirs.get_input_embeddings().weight)
    assert ours.lm.config.tie_word_embeddings == tied


def test_a_tied_checkpoint_without_either_is_refused(published: Path, tmp_path: Path) -> None:
    state = load_file(str(published / "model.safetensors"))
    del state[HEAD], state[EMBEDDING]
    folder = variant(published, tmp_path / "model", state, tie_word_embeddings=True)
    with pytest.raises(CheckpointError, match="neither an embedding nor a head"):
        load_model("llava", folder)


FORMS = {"safetensors": 1.0, "sharded_safetensors": 2.0, "bin": 3.0, "sharded_bin": 4.0}


@settings(max_examples=20, deadline=None)
@given(forms=st.sets(st.sampled_from(sorted(FORMS)), min_size=1))
def test_of_several_files_the_one_that_transformers_takes(
    forms: set[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("forms")
    config = LlamaConfig(hidden_size=4, intermediate_size=4, num_hidden_layers=1, num_attention_heads=1, vocab_size=5)
    model = config_model(config)
    config.save_pretrained(folder)
    for form in forms:
        write_weights(folder, {name: torch.full_like(t, FORMS[form]) for name, t in model.state_dict().items()}, form)
    theirs = type(model).from_pretrained(folder).lm_head.weight[0, 0].item()
    found = dict(open_folder(folder, "model", "--path"))
    assert {tensor.flatten()[0].item() for tensor in found.values()} == {theirs}
    assert found.keys() == model.state_dict().keys()


def config_model(config: LlamaConfig) -> Any:
    """A random model of the config."""
    from transformers import LlamaForCausalLM

    return LlamaForCausalLM(config)


NAME = "language_model.model.layers.1.mlp.up_proj.weight"


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda t: t.index_fill(0, torch.tensor([3]), float("nan")), "holds NaN or infinity"),
        (lambda t: t.index_fill(0, torch.tensor([3]), float("inf")), "holds NaN or infinity"),
        (lambda t: t.index_fill(0, torch.tensor([3]), float("-inf")), "holds NaN or infinity"),
        (lambda t: t.long(), "holds int64, not floats"),
        (lambda t: t.bool(), "holds bool, not floats"),
        (lambda t: t.to(torch.complex64), "holds complex64, not floats"),
        (lambda t: t.to_sparse(), "holds sparse_coo, not floats"),
    ],
)
def test_what_is_no_weight_is_named(
    spoil: Callable[[torch.Tensor], torch.Tensor], message: str, tmp_path: Path, tokenizer_file: Path
) -> None:
    folder = tmp_path / "model"
    state = write_owl(folder, tokenizer_file, form="bin")
    torch.save(state | {NAME: spoil(state[NAME])}, folder / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match=rf"lm\.model\.layers\.1\.mlp\.up_proj\.weight {message}"):
        load_model("owl", folder)


def test_numbers_that_the_dtype_cannot_hold(tmp_path: Path, tokenizer_file: Path) -> None:
    folder = tmp_path / "model"
    state = write_owl(folder, tokenizer_file, form="bin")
    torch.save(state | {NAME: state[NAME] * 1e9}, folder / "pytorch_model.bin")
    assert load_model("owl", folder, dtype=torch.bfloat16) is not None
    with pytest.raises(CheckpointError, match=r"up_proj\.weight holds numbers too large for float16"):
        load_model("owl", folder, dtype=torch.float16)


@pytest.mark.parametrize("value", [float("nan"), 7])
@pytest.mark.parametrize("kind", ["safetensors", "pth"])
def test_trained_tensors_too(value: float, kind: str, tiny: Callable[[str], Tiny], tmp_path: Path) -> None:
    model = tiny("llava").load()
    shape = model.connector[0].weight.shape
    tensor = torch.full(shape, value)
    if kind == "pth":
        torch.save({"model": {"model.mm_projector.0.weight": tensor}}, tmp_path / "step_000001.pth")
    else:
        save_file({"connector.0.weight": tensor}, str(tmp_path / "trained.safetensors"))
    with pytest.raises(CheckpointError, match=r"connector\.0\.weight holds (NaN or infinity|int64, not floats)"):
        model.load_trained(tmp_path)


@settings(deadline=None)
@given(
    values=st.lists(st.floats(width=16), max_size=9),
    dtype=st.sampled_from([torch.float32, torch.float16, torch.bfloat16, torch.float8_e5m2]),
)
def test_finite_is_what_isfinite_says(values: list[float], dtype: torch.dtype) -> None:
    tensor = torch.tensor(values).to(dtype)
    assert is_finite(tensor) == bool(torch.isfinite(tensor.float()).all())


@pytest.mark.parametrize("key", [3, None, ("a", 1), b"w", 1.5, True])
def test_a_tensor_needs_a_name(key: object, tmp_path: Path) -> None:
    torch.save({"model": {"w": torch.ones(1), key: torch.ones(1)}}, tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match=r"a\.pth holds a tensor under the key .*, which is no name"):
        load_tensors(tmp_path / "a.pth")


@pytest.mark.parametrize("state", [[torch.ones(1)], torch.ones(1), {"model": [1]}, {"model": {}}, {}, 7, "x", None])
def test_a_file_that_is_no_table_of_tensors(state: object, tmp_path: Path) -> None:
    torch.save(state, tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match=r"a\.pth holds no tensors"):
        load_tensors(tmp_path / "a.pth")


@settings(max_examples=60, deadline=None)
@given(data=st.data(), zipped=st.booleans())
def test_a_damaged_pth_is_read_or_refused(
    data: st.DataObject, zipped: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("damaged") / "a.pth"
    torch.save({"model": {"w": torch.ones(3)}}, path, _use_new_zipfile_serialization=zipped)
    content = bytearray(path.read_bytes())
    for place in data.draw(st.lists(st.integers(0, len(content) - 1), min_size=1, max_size=4)):
        content[place] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))] if data.draw(st.booleans()) else content)
    try:
        assert all(isinstance(name, str) for name in load_tensors(path))
    except CheckpointError as error:
        assert "a.pth" in str(error)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[]", "expected an object"),
        ('{"weight_map": 3}', "weight_map is 3, expected an object"),
        ('{"weight_map": {"a": 3}}', "weight_map.* is a whole number, expected text"),
        ('{"weight_map": {"a": null}}', "expected text"),
        ('{"weight_map": {"a": "../a.bin"}}', "no file of weights beside it"),
        ('{"weight_map": {"a": "/etc/passwd"}}', "no file of weights beside it"),
        ('{"weight_map": {"a": "config.json"}}', "no file of weights beside it"),
        ('{"weight_map": {"a": ""}}', "no file of weights beside it"),
    ],
)
def test_an_index_of_wrong_types(content: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "model.safetensors.index.json").write_text(content)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UserError, match=message):
        open_folder(tmp_path, "model", "--path")


CARD = {"model": "llava", "lora": None, "tensors": ["connector.0.weight"]}


@pytest.mark.parametrize(
    ("card", "message"),
    [
        ([], "expected an object"),
        ({}, "no field model"),
        (CARD | {"model": 7}, "model is 7, expected text"),
        (CARD | {"model": "owl"}, "was trained on owl, not on llava"),
        (CARD | {"lora": True}, "lora is True"),
        (CARD | {"lora": {"rank": "8"}}, "lora.rank is '8'"),
        (CARD | {"lora": {"rank": 0}}, "lora_rank is 0"),
        (CARD | {"lora": {"targets": "q_proj"}}, "lora.targets is 'q_proj'"),
        (CARD | {"lora": {"targets": ["no_such_layer"]}}, "no_such_layer"),
        (CARD | {"tensors": "connector.0.weight"}, "tensors is 'connector"),
        (CARD | {"tensors": [1]}, "tensors.* 1, expected text"),
        (
            CARD | {"tensors": ["connector.0.weight", "connector.2.weight"]},
            r"only one of them has connector\.2\.weight",
        ),
        (CARD | {"base_hash": []}, "base_hash is"),
    ],
)
def test_a_card_of_wrong_types_or_of_another_training(
    card: object, message: str, tiny: Callable[[str], Tiny], tmp_path: Path
) -> None:
    model = tiny("llava").load()
    save_file({"connector.0.weight": model.connector[0].weight.data}, str(tmp_path / "trained.safetensors"))
    (tmp_path / "trained.json").write_text(json.dumps(card))
    with pytest.raises(UserError, match=message):
        model.load_trained(tmp_path)
