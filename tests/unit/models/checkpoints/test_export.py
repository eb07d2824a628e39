"""Export: a trained checkpoint merged into a folder that plain transformers, or our own loader, reads."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from common.args import ModelArguments
from common.errors import ArgumentError
from common.models import load_model
from common.models.text.tokenizers import SentencePieceTokenizer
from deploy.export import ExportArguments, export
from deploy.exports.fast_tokenizer import convert
from deploy.exports.tensor_shards import write_shards
from tests.unit.models.conftest import Tiny
from tests.unit.models.tiny_auto import write_auto

TRAPS = (
    "",
    " ",
    "\n",
    " a dog",
    "  two  blanks ",
    "A dog.</s>",
    "x</s> y",
    "ünïcödé 狗",
    "2024 $$ 7",
    "<unk>",
    "[/INST] a",
)


def arguments(tiny: Tiny, ckpt: Path | None, **more: Any) -> ModelArguments:
    """Command line of one tiny checkpoint."""
    named = {f"{tiny.name}_vit_path": str(tiny.settings["vit_path"])} if "vit_path" in tiny.settings else {}
    return ModelArguments(
        model=tiny.name,
        model_path=str(tiny.path),
        ckpt_load_path=str(ckpt) if ckpt else None,
        device="cpu",
        **named,
        **more,
    )


def trained(tiny: Tiny, folder: Path, selection: str = "connector") -> Any:
    """The model with its connector changed, and that saved into `folder`."""
    model = tiny.load()
    chosen = model.set_trainable(selection)
    for parameter in chosen.values():
        parameter.data += 0.01 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1))
    model.save_trained(folder, list(chosen))
    return model


def sample(model: Any, images: list[Image.Image]) -> torch.Tensor:
    """Losses of two samples."""
    texts = [model.format_prompt("Please describe the image."), model.format_prompt("Describe")]
    with torch.no_grad():
        losses: torch.Tensor = model.sample_losses(images[:2], texts, ["a red dog", " and a cat"], [True, False])
    return losses


@pytest.mark.parametrize("name", ["llava", "share4v"])
def test_plain_transformers_loads_the_export_and_agrees(
    name: str, tiny: Callable[[str], Tiny], tmp_path: Path, images: list[Image.Image]
) -> None:
    from transformers import AutoProcessor, LlavaForConditionalGeneration

    ours = trained(tiny(name), tmp_path / "trained")
    out = export(arguments(tiny(name), tmp_path / "trained"), ExportArguments(str(tmp_path / "out")))
    theirs, report = LlavaForConditionalGeneration.from_pretrained(out, output_loading_info=True)
    assert not report["missing_keys"] and not report["unexpected_keys"]
    processor = AutoProcessor.from_pretrained(out)
    text = ours.format_prompt("Please describe the image.")
    inputs = processor(text=[text], images=[images[0]], return_tensors="pt")
    prompt = ours.encode_prompt(text)
    image_id = theirs.config.image_token_id
    assert inputs["input_ids"][0].tolist() == [*prompt.before, *[image_id] * 4, *prompt.after]
    pixels = ours.preprocess(images[:1])
    target = ours.encode_target("a red dog", True)
    ids = torch.tensor([[*inputs["input_ids"][0].tolist(), *target]])
    with torch.no_grad():
        logits = theirs.eval()(input_ids=ids, pixel_values=pixels).logits[0, -len(target) - 1 : -1]
        expected = ours.target_losses(ours.image_features(pixels), [prompt], [target])[0]
    # Without the one row that was added for `<image>` the softmax is the same.
    found = torch.nn.functional.cross_entropy(logits[:, :image_id], torch.tensor(target), reduction="none")
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["owl", "minigpt", "minigpt_v1", "llava"])
def test_our_loader_reads_the_export(
    name: str, tiny: Callable[[str], Tiny], tmp_path: Path, images: list[Image.Image]
) -> None:
    ours = trained(tiny(name), tmp_path / "trained")
    source = tiny(name)
    if source.name == "minigpt":  # heads are not on the command line; the export itself needs them not
        from deploy.exports.layouts import write_model

        (tmp_path / "out").mkdir()
        write_model(ours, tmp_path / "out")
        out = tmp_path / "out"
    else:
        out = export(arguments(source, tmp_path / "trained"), ExportArguments(str(tmp_path / "out")))
    heads = {key: value for key, value in source.settings.items() if key.endswith("heads")}
    again = load_model(source.name, out, **heads)
    # llava's export has one more row in the softmax, see above.
    torch.testing.assert_close(
        sample(again, images), sample(ours, images), rtol=1e-2 if name == "llava" else 1e-6, atol=0
    )


@pytest.mark.parametrize("kind", ["LlamaTokenizer", "LlamaTokenizerFast", "PreTrainedTokenizerFast"])
def test_a_converted_folder_tokenizes_alike_whatever_class_it_names(
    kind: str, tiny: Callable[[str], Tiny], tmp_path: Path
) -> None:
    """Converted folders in the wild name slow classes, whose own loading loses the dummy prefix."""
    out = export(arguments(tiny("llava"), None), ExportArguments(str(tmp_path / "out")))
    path = out / "tokenizer_config.json"
    values = json.loads(path.read_text()) | {"tokenizer_class": kind, "legacy": False, "add_bos_token": True}
    path.write_text(json.dumps(values))
    ours, theirs = tiny("llava").load(), load_model("llava", out)
    for text in TRAPS:
        if "<unk>" not in text:  # dropped in the original layout only
            assert theirs.encode_target(text, True) == ours.encode_target(text, True)
            assert theirs.encode_caption(text).ids == ours.encode_caption(text).ids
    prompt = ours.format_prompt("Please describe the image.", "A dog")
    assert theirs.encode_prompt(prompt) == ours.encode_prompt(prompt)


def test_adapters_are_merged(tiny: Callable[[str], Tiny], tmp_path: Path, images: list[Image.Image]) -> None:
    ours = trained(tiny("owl"), tmp_path / "trained", "lora")
    assert abs(sample(ours, images) - sample(tiny("owl").load(), images)).max() > 1e-3
    out = export(arguments(tiny("owl"), tmp_path / "trained"), ExportArguments(str(tmp_path / "out")))
    torch.testing.assert_close(sample(load_model("owl", out), images), sample(ours, images), rtol=1e-5, atol=1e-5)


def test_auto_is_saved_by_transformers(tmp_path: Path, images: list[Image.Image]) -> None:
    write_auto(tmp_path / "base", "idefics3")
    args = ModelArguments(model="auto", auto_path=str(tmp_path / "base"), device="cpu")
    out = export(args, ExportArguments(str(tmp_path / "out")))
    assert torch.equal(sample(load_model("auto", out), images), sample(load_model("auto", tmp_path / "base"), images))


def test_an_existing_folder_is_not_touched(tiny: Callable[[str], Tiny], tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with pytest.raises(ArgumentError, match="--restart"):
        export(arguments(tiny("owl"), None), ExportArguments(str(tmp_path / "out")))
    with pytest.raises(ArgumentError, match="--export_path is needed"):
        export(arguments(tiny("owl"), None), ExportArguments())


@pytest.mark.parametrize("given", [{"load_in_4bit": True}, {"decoder_dtype": "fp8"}])
def test_codes_of_weights_are_not_exported(given: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match=f"an export holds whole weights, and --{next(iter(given))}"):
        export(ModelArguments(device="cpu", **given), ExportArguments(str(tmp_path / "out")))
    assert not (tmp_path / "out").exists()


def test_only_an_earlier_export_is_replaced(tiny: Callable[[str], Tiny], tmp_path: Path) -> None:
    args, out = arguments(tiny("owl"), None), tmp_path / "out"
    again = ExportArguments(str(out), restart=True)
    out.mkdir()
    (out / "photo.jpg").write_bytes(b"mine")
    with pytest.raises(ArgumentError, match="is left as it is"):
        export(args, again)
    assert (out / "photo.jpg").read_bytes() == b"mine"
    (out / "photo.jpg").unlink()
    export(args, again)
    (out / "stale").touch()
    export(args, again)
    assert not (out / "stale").exists() and [p.name for p in tmp_path.iterdir()] == ["out"]
    with pytest.raises(ArgumentError, match="holds an input of this command"):
        export(replace(args, owl_path=str(out)), again)


def test_the_dtype_is_kept_and_dry_run_writes_nothing(tiny: Callable[[str], Tiny], tmp_path: Path) -> None:
    out = export(arguments(tiny("owl"), None), ExportArguments(str(tmp_path / "out"), dry_run=True))
    assert not out.exists() and not list(tmp_path.iterdir())


@pytest.mark.parametrize("text", TRAPS)
def test_converted_tokenizer_equals_sentencepiece(text: str, tokenizer_file: Path) -> None:
    source = SentencePieceTokenizer(tokenizer_file)
    fast = convert(source, ["<image>"])
    assert fast(text, add_special_tokens=False)["input_ids"] == source.encode(text)
    assert fast(text)["input_ids"] == [source.bos_id, *source.encode(text)]


def test_shards_are_named_indexed_and_complete(tmp_path: Path) -> None:
    from common.models.checkpoints.files import open_folder

    state = {f"t{i}": torch.full((4, 8), float(i)) for i in range(5)}
    files = write_shards(tmp_path, state.items(), limit=300)
    assert [file.name for file in files] == [f"model-{i:05d}-of-00003.safetensors" for i in (1, 2, 3)]
    again = dict(open_folder(tmp_path, "x", "--x"))
    assert again.keys() == state.keys() and all(torch.equal(again[name], state[name]) for name in state)
