"""The scripts that made what is bundled: they write nothing over what they did not make."""

from __future__ import annotations

from pathlib import Path

import pytest

from common.errors import ArgumentError, DataError
from common.paths import MINI_CLIP, MINI_LLAVA
from dataset import abstract_nouns
from dataset.mini import pretrain_clip, pretrain_llava
from dataset.mini.pretrained import pretrained_folder


@pytest.mark.parametrize("script", [pretrain_llava, pretrain_clip])
def test_a_folder_of_another_model_is_refused_before_anything_is_drawn(script, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("mine")
    with pytest.raises(ArgumentError, match="is none of ours"):
        script.main(["--output_dir", str(tmp_path)])
    assert [path.read_text() for path in tmp_path.iterdir()] == ["mine"]


def test_the_bundled_models_are_their_scripts() -> None:
    pretrained_folder(str(MINI_LLAVA), "pretrain_llava.py").check()
    pretrained_folder(str(MINI_CLIP), "pretrain_clip.py").check()


def test_only_such_a_list_is_written_over(tmp_path: Path) -> None:
    abstract_nouns.recognise(abstract_nouns.LIST)
    (tmp_path / "words.txt").write_text("mine")
    with pytest.raises(DataError, match=r"words\.txt is there already"):
        abstract_nouns.main(["--abstract_nouns_path", str(tmp_path / "words.txt")])
    assert (tmp_path / "words.txt").read_text() == "mine"
