"""The JSON of model folders: whatever it holds, a model is loaded or one line says what is wrong."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import (
    CLIPImageProcessor,
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
)

from common.errors import CheckpointError, UserError
from common.models import load_model
from common.models.parts.preprocess import CLIP_MEAN, Preprocessing
from common.models.parts.preprocess_files import read_preprocessing
from tests.unit.models.conftest import Tiny
from tests.unit.models.tiny_auto import TEMPLATE, auto_tokenizer, write_auto


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A LLaVA with its processor, as transformers writes them, that our adapter and `auto` load."""
    folder = tmp_path_factory.mktemp("whole") / "model"
    tokenizer = auto_tokenizer("idefics3")
    size = {"hidden_size": 32, "intermediate_size": 32, "num_attention_heads": 2}
    config = LlavaConfig(
        text_config=LlamaConfig(**size, num_hidden_layers=1, vocab_size=len(tokenizer)),
        vision_config=CLIPVisionConfig(**size, num_hidden_layers=2, image_size=28, patch_size=14),
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        image_seq_length=4,
    )
    torch.manual_seed(0)
    LlavaForConditionalGeneration(config).save_pretrained(folder)
    LlavaProcessor(
        CLIPImageProcessor(size={"shortest_edge": 28}, crop_size={"height": 28, "width": 28}),
        tokenizer,
        patch_size=14,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=TEMPLATE.format(image="<image>"),
    ).save_pretrained(folder)
    return folder


OTHER = {"num_hidden_layers": 1, "hidden_size": 32, "intermediate_size": 32, "vocab_size": 99, "num_attention_heads": 2}
LEFT_OUT = {  # what goes, what comes in place of it
    r"no tokenizer in .*none of vocab\.json, merges\.txt, tokenizer\.json": (
        {"tokenizer.json", "tokenizer_config.json"},
        {},
    ),
    r"no tokenizer in .*none of tokenizer\.json, .*, with tokenizer_config\.json": ({"tokenizer.json"}, {}),
    r"no image processor in .*processor_config\.json": ({"processor_config.json"}, {}),
    r"no config\.json in ": ({"config.json"}, {}),
    r"no weights of the model in .*looked for model\.safetensors": ({"model.safetensors"}, {}),
    r"shard a\.safetensors named in .*index\.json is missing": (
        {"model.safetensors"},
        {"model.safetensors.index.json": '{"weight_map": {"x": "a.safetensors"}}'},
    ),
    r"config\.json .*is it that of these weights": (
        set(),
        {"config.json": json.dumps({"model_type": "idefics3", "text_config": OTHER, "vision_config": OTHER})},
    ),
    r"merges\.txt missing, copy": ({"tokenizer.json"}, {"vocab.json": "{}"}),
}


@pytest.fixture(scope="module")
def qwen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A family of which transformers makes an empty tokenizer where there are no files of one."""
    folder = tmp_path_factory.mktemp("qwen") / "model"
    write_auto(folder, "qwen2_5_vl")
    return folder


@pytest.mark.parametrize("said", list(LEFT_OUT))
def test_what_a_folder_for_auto_lacks_is_named(said: str, qwen: Path, tmp_path: Path) -> None:
    gone, instead = LEFT_OUT[said]
    folder = shutil.copytree(qwen, tmp_path / "model", ignore=lambda _, names: gone & set(names))
    for name, text in instead.items():
        (folder / name).write_text(text)
    with pytest.raises(CheckpointError, match=said) as found:
        load_model("auto", folder)
    assert "\n" not in str(found.value) and len(str(found.value)) < 500


def test_whose_special_tokens_are_taken_is_said(
    qwen: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The end of a caption is learnt, so that it must not be another one in silence."""
    said = "no tokenizer_config.json in "
    load_model("auto", qwen)
    assert said not in capsys.readouterr().err
    folder = shutil.copytree(qwen, tmp_path / "model", ignore=lambda *_: ["tokenizer_config.json"])
    load_model("auto", folder)
    assert said in (shown := capsys.readouterr().err) and "its end <|endoftext|>" in shown


@contextlib.contextmanager
def changed(path: Path, **values: Any) -> Iterator[None]:
    """A JSON file with other values, as it was afterwards."""
    before = path.read_text()
    path.write_text(json.dumps(json.loads(before) | values))
    try:
        yield
    finally:
        path.write_text(before)


@pytest.mark.parametrize("name", ["llava", "auto"])
def test_a_whole_folder_loads(name: str, whole: Path) -> None:
    assert load_model(name, whole).name == name


@pytest.mark.parametrize("name", ["llava", "auto"])
@pytest.mark.parametrize(
    ("file", "values", "message"),
    [
        ("processor_config.json", {"patch_size": 7}, "patch_size 7, the model has 14"),
        (
            "processor_config.json",
            {"vision_feature_select_strategy": "full"},
            "vision_feature_select_strategy full, the model has default",
        ),
        ("config.json", {"vision_feature_select_strategy": "full"}, "select_strategy default, the model has full"),
        (
            "processor_config.json",
            {"num_additional_image_tokens": 0},
            "num_additional_image_tokens 0|tokens: 3",
        ),
        (
            "processor_config.json",
            {"num_additional_image_tokens": 2},
            "num_additional_image_tokens 2|tokens: 5",
        ),
        # written out, these would be 7 GB of text
        ("processor_config.json", {"num_additional_image_tokens": 10**9}, "num_additional_image_tokens 1000000000"),
        ("config.json", {"image_token_id": 9, "image_token_index": 9}, "image_token_id 9, .* has"),
    ],
)
def test_processor_and_model_that_disagree(
    name: str, file: str, values: dict[str, Any], message: str, whole: Path
) -> None:
    with changed(whole / file, **values), pytest.raises(CheckpointError, match=message) as caught:
        load_model(name, whole)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("strategy", ["none", "cls"])
def test_a_strategy_that_no_one_knows(strategy: str, whole: Path) -> None:
    with (
        changed(whole / "config.json", vision_feature_select_strategy=strategy),
        pytest.raises(CheckpointError, match=f"vision_feature_select_strategy {strategy}"),
    ):
        load_model("llava", whole)


def test_auto_refuses_weights_that_are_not_there_or_not_finite(tmp_path: Path) -> None:
    """transformers draws missing ones at random, with a warning."""
    from safetensors.torch import load_file, save_file

    write_auto(tmp_path / "model", "internvl")
    path = tmp_path / "model" / "model.safetensors"
    state = load_file(str(path))
    name = next(name for name in state if name.endswith("up_proj.weight"))
    save_file({key: tensor for key, tensor in state.items() if key != name}, str(path), metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=r"1 tensors are missing from .* or of another shape.*up_proj\.weight"):
        load_model("auto", tmp_path / "model")
    spoilt = state[name].clone()
    spoilt[0, 0] = float("nan")
    save_file(state | {name: spoilt}, str(path), metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=r"up_proj\.weight holds NaN or infinity"):
        load_model("auto", tmp_path / "model")


def test_auto_tries_processor_and_model_together(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    write_auto(folder, "qwen2_5_vl")
    values = json.loads((folder / "processor_config.json").read_text())
    values["image_processor"]["patch_size"] = 7
    (folder / "processor_config.json").write_text(json.dumps(values))
    with pytest.raises(CheckpointError, match="do not fit together") as caught:
        load_model("auto", folder)
    assert "\n" not in str(caught.value)


def test_pixels_as_the_processors_file_says(tmp_path: Path) -> None:
    """transformers 5 puts the image processor's settings into processor_config.json, and reads them there first."""
    inside = {"size": {"shortest_edge": 30}, "crop_size": {"height": 28, "width": 28}, "resample": 0}
    (tmp_path / "processor_config.json").write_text(json.dumps({"image_processor": inside}))
    (tmp_path / "preprocessor_config.json").write_text('{"size": 40, "crop_size": 28}')
    assert read_preprocessing(tmp_path, 28, "crop") == Preprocessing(30, 28, resample=0)
    (tmp_path / "processor_config.json").write_text('{"image_processor": null}')
    assert read_preprocessing(tmp_path, 28, "crop") == Preprocessing(40, 28)
    (tmp_path / "preprocessor_config.json").write_text('{"size": {"height": 28, "width": 28}}')
    assert read_preprocessing(tmp_path, 28, "crop") == Preprocessing(28, 28, "squash", CLIP_MEAN)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"do_normalize": False}, "do_normalize false"),
        ({"do_rescale": False}, "do_rescale false"),
        ({"do_center_crop": False}, "do_center_crop false"),
        ({"do_pad": True}, "--image_aspect_ratio pad"),
        ({"rescale_factor": 1.0}, "rescale_factor 1; 1/255"),
        ({"image_std": [0.0, 1.0, 1.0]}, "image_std"),
        ({"image_mean": [0.5]}, "image_mean"),
        ({"image_mean": "half"}, "image_mean is 'half'"),
        ({"resample": 9}, "resample"),
        ({"resample": True}, "resample is True"),
        ({"size": "28"}, "size is '28'"),
        ({"size": -28}, "size"),
        ({"size": {"longest_edge": 28}}, "no square of pixels"),
        ({"crop_size": {"height": 28, "width": 20}}, "no square of pixels"),
    ],
)
def test_pixels_that_no_model_here_sees(values: dict[str, Any], message: str, tmp_path: Path) -> None:
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(values))
    with pytest.raises(UserError, match=message):
        read_preprocessing(tmp_path, 28, "crop")


ODD = st.sampled_from([None, True, 0, -1, 1.5, "x", "", [], ["a"], {}, {"a": 1}, 10**9, [[1]], 3])


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where something stands in a JSON value."""
    yield path
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in inner:
        yield from places(part, (*path, key))


def replaced(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    """The value with another one in one place."""
    if not path:
        return new
    copy = value.copy()
    copy[path[0]] = replaced(value[path[0]], path[1:], new)
    return copy


@pytest.mark.slow
@pytest.mark.parametrize("name", ["llava", "owl", "minigpt_v1", "hf", "auto"])
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_json_of_any_type_loads_or_is_refused(
    name: str, data: st.DataObject, tiny: Callable[[str], Tiny], whole: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """One value of one file becomes another: no traceback, whatever it is."""
    source = whole if name in ("hf", "auto") else tiny(name).path
    folder = Path(shutil.copytree(source, tmp_path_factory.mktemp("odd") / "model"))
    files = sorted(p for p in folder.rglob("*.json") if p.name != "tokenizer.json")
    path = data.draw(st.sampled_from(files))
    content = json.loads(path.read_text())
    place = data.draw(st.sampled_from(list(places(content))[:200]))
    path.write_text(json.dumps(replaced(content, place, data.draw(ODD))))
    family = {"hf": "llava", "minigpt_v1": "minigpt"}.get(name, name)
    heads = {} if name in ("hf", "auto") else {k: v for k, v in tiny(name).settings.items() if k.endswith("heads")}
    try:
        load_model(family, folder, **heads)
    except UserError as error:
        assert "\n" not in str(error) and len(str(error)) <= 400
    finally:
        shutil.rmtree(folder)
