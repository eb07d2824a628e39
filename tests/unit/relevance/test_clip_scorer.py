"""The open_clip scorer on a tiny random model in the layout of the bundled one."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image

from common.errors import CheckpointError
from common.relevance import clip_scorer
from common.relevance.clip_scorer import load_scorer
from common.relevance.windows import whole_image, window_grid
from tests.clip_folder import make_clip_folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A model folder."""
    return make_clip_folder(tmp_path_factory.mktemp("clip") / "tiny")


@pytest.fixture(scope="module")
def scorer(folder):
    """The model, loaded."""
    return load_scorer(str(folder), None)


def smooth_image(height: int, width: int, seed: int = 0) -> Image.Image:
    """A photo-like picture: noise at 8 pixels, enlarged."""
    small = np.random.default_rng(seed).integers(0, 255, (height // 8 + 1, width // 8 + 1, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)


def test_a_whole_square_image_is_embedded_as_open_clip_itself_does(folder, scorer):
    model, preprocess = open_clip.create_model_from_pretrained(f"local-dir:{folder}")
    image = smooth_image(128, 128)
    with torch.inference_mode():
        theirs = model.eval().encode_image(preprocess(image)[None], normalize=True)
    ours = scorer.embed_images([image], [whole_image(128, 128)])[0]
    assert float((ours * theirs).sum()) > 0.9999


def test_preparing_a_window_is_pillow_resizing_to_within_one_level(scorer):
    image = smooth_image(192, 192)
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None]
    mean, std = (torch.tensor(v)[:, None, None] for v in (scorer.mean, scorer.std))
    ours = (scorer.prepare(pixels)[0] * std + mean) * 255
    pillow = torch.from_numpy(np.array(image.resize((112, 112), Image.Resampling.BICUBIC))).permute(2, 0, 1)
    difference = (ours - pillow).abs()  # Pillow rounds after each of its two passes, so a level may move by one
    assert float(difference.max()) < 1.01
    assert float((difference < 0.01).float().mean()) > 0.75


def test_each_window_is_embedded_as_if_it_were_an_image_of_its_own(scorer):
    image = smooth_image(240, 288)
    grid = window_grid(240, 288)
    together = scorer.embed_images([image], [grid])[0]
    crops = [image.crop((left, top, left + 192, top + 192)) for top in grid.tops for left in grid.lefts]
    alone = torch.cat([scorer.embed_images([crop], [whole_image(192, 192)])[0] for crop in crops])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)


def test_images_of_different_sizes_come_back_in_their_order(scorer):
    images = [smooth_image(200, 240, 1), smooth_image(100, 90, 2), smooth_image(200, 240, 3)]
    grids = [window_grid(i.height, i.width) for i in images]
    together = scorer.embed_images(images, grids)
    for image, grid, found in zip(images, grids, together, strict=True):
        torch.testing.assert_close(found, scorer.embed_images([image], [grid])[0], atol=1e-5, rtol=0)


def test_text_embeddings_are_unit_and_use_the_folder_tokenizer(scorer):
    assert scorer.tokenize(["A photo containing dog."])[0, 1].item() == 3  # 'a', the first word of the tiny vocabulary
    norms = scorer.embed_texts(["A photo containing dog.", "A photo containing table."]).norm(dim=1)
    torch.testing.assert_close(norms, torch.ones(2))


def test_a_folder_without_configuration_is_named(tmp_path):
    with pytest.raises(CheckpointError, match=r"open_clip_config\.json"):
        load_scorer(str(tmp_path), None)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ("open_clip_model.safetensors", r"no weights in .*clip \(from --clip_model\): .*; copy the release's"),
        (
            "tokenizer*.json",
            r"no tokenizer in .*clip \(from --clip_model\): .*; copy the release's, with tokenizer_conf",
        ),
        ("tokenizer_config.json", r"--clip_model .*copy the release's folder whole, with tokenizer_config\.json"),
    ],
)
def test_a_folder_that_lacks_a_part_is_told_which_and_is_no_random_model(tmp_path, files, message):
    folder = make_clip_folder(tmp_path / "clip")
    for file in folder.glob(files):
        file.unlink()
    with pytest.raises(CheckpointError, match=message):
        load_scorer(str(folder), None)


def test_code_of_a_folder_is_not_run_though_its_configuration_trusts_it(tmp_path):
    folder = make_clip_folder(tmp_path / "clip")
    config = json.loads((folder / "open_clip_config.json").read_text())
    config["model_cfg"]["text_cfg"]["tokenizer_kwargs"] = {"trust_remote_code": True}
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    own = {"tokenizer_class": "Own", "auto_map": {"AutoTokenizer": [None, "own.Own"]}}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings | own))
    (folder / "own.py").write_text(f"open({str(tmp_path / 'was_run')!r}, 'w')")
    with pytest.raises(CheckpointError, match="contains custom code"):
        load_scorer(str(folder), None)
    assert not (tmp_path / "was_run").exists()


def test_weights_of_another_shape_are_an_error(tmp_path):
    folder = make_clip_folder(tmp_path / "clip")
    config = folder / "open_clip_config.json"
    config.write_text(config.read_text().replace('"patch_size": 14', '"patch_size": 28'))
    with pytest.raises(CheckpointError, match="--clip_model"):
        load_scorer(str(folder), None)


def test_an_unknown_model_gets_a_suggestion():
    with pytest.raises(CheckpointError, match="did you mean ViT-B-32"):
        load_scorer("ViT-B-33", None)


def test_weights_that_cannot_be_had_name_both_flags(monkeypatch):
    def offline(*_args, **_kwargs):
        raise RuntimeError("Failed to download weights for tag 'openai': no route\nsecond line")

    monkeypatch.setattr(open_clip, "create_model", offline)
    with pytest.raises(CheckpointError) as error:
        load_scorer("ViT-B-32", "openai")
    assert "\n" not in str(error.value)
    assert "give the weights as a file with --clip_pretrained" in str(error.value)


def test_openai_weights_get_the_activation_they_were_trained_with():
    assert clip_scorer._source("ViT-B-32", "openai") == ("ViT-B-32", "openai", True)
    assert clip_scorer._source("ViT-B-32", "laion2b_s34b_b79k")[2] is False


def test_bfloat16_stays_near_float32(folder, scorer):
    low = load_scorer(str(folder), None, dtype="bfloat16")
    image, grid = smooth_image(240, 240), window_grid(240, 240)
    a, b = scorer.embed_images([image], [grid])[0], low.embed_images([image], [grid])[0]
    assert b.dtype == torch.float32
    assert float((a * b).sum(dim=1).min()) > 0.995
    text = ["A photo containing dog."]
    assert float((scorer.embed_texts(text) * low.embed_texts(text)).sum()) > 0.995
