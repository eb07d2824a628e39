"""`deploy/export.py --push_to_hub` against a small hub: what goes there, and every no in one line before the work."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import ModelCard, constants

from common.args import ModelArguments
from common.cards.base import Base
from common.cards.card import Subject, write_card
from common.cards.loading import Loading
from common.errors import ArgumentError
from common.files.hub import forget
from common.files.storage import read_json
from common.paths import MINI_LLAVA
from deploy.export import ExportArguments, export
from deploy.exports.upload import UploadError, destination, upload
from tests.small_hub import SmallHub, served


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SmallHub]:
    """With somebody's model, and nobody's cache; the process is logged in."""
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "README.md").write_text("---\nlicense: mit\n---\n# mine\n")
    with served(SmallHub({"me/mine": foreign, "acme/tiny": foreign}, root=tmp_path / "hub")) as up:
        monkeypatch.setattr(constants, "ENDPOINT", up.url)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", up.url + "/{repo_id}/resolve/{revision}/{filename}"
        )
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setenv("HF_TOKEN", "good")
        yield up


@pytest.fixture
def exported(tmp_path: Path) -> Path:
    """What an export looks like from without: weights, a settings file, a folder, a card."""
    folder = tmp_path / "exported"
    (folder / "adapter").mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(b"weights")
    (folder / "config.json").write_text("{}")
    (folder / "adapter" / "adapter_config.json").write_text("{}")
    write_card(folder, Subject("me/new", Loading("transformers", "llava"), Base("acme/tiny", True)))
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    """Of all files."""
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_the_repository_is_the_export_and_a_second_one_replaces_it(hub: SmallHub, exported: Path) -> None:
    there = destination("me/new", private=False)
    assert not there.exists and "me/new" not in hub.repositories  # nothing is made by asking
    assert upload(exported, there) == f"{hub.url}/me/new"
    arrived = contents(hub.repositories["me/new"])
    assert arrived.pop(".gitattributes") and arrived == contents(exported)
    (hub.repositories["me/new"] / "model-00001-of-00002.safetensors").write_bytes(b"of an earlier export")
    (hub.repositories["me/new"] / "notes.txt").write_text("the user's own")
    again = destination("new", private=False)  # a bare name belongs to whoever is logged in
    assert again.repo == "me/new" and again.exists and not again.edited
    upload(exported, again)
    names = set(contents(hub.repositories["me/new"]))
    assert names == {*contents(exported), ".gitattributes", "notes.txt"}


def test_a_card_that_was_edited_there_is_kept(hub: SmallHub, exported: Path) -> None:
    upload(exported, destination("me/new", private=False))
    card = hub.repositories["me/new"] / "README.md"
    edited = card.read_text().replace("## Limits", "## My own words\nFine.\n\n## Limits")
    card.write_text(edited)
    upload(exported, destination("me/new", private=False))
    assert card.read_text() == edited


@pytest.mark.parametrize(
    ("name", "token", "said"),
    [
        ("me/new", None, "needs a token that may write"),
        ("me/new", "wrong", "does not take the token"),
        ("me/new", "reader", "may only read"),
        ("me/mine", "good", "holds no export of ours"),
        ("not a name/..", "good", "is no name of a repository"),
    ],
)
def test_what_cannot_be_is_said_in_one_line_and_nothing_is_written(
    hub: SmallHub, name: str, token: str | None, said: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
    if token is not None:
        monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(UploadError, match=said) as error:
        export(ModelArguments(device="cpu"), ExportArguments(str(tmp_path / "out"), push_to_hub=name))
    assert "\n" not in str(error.value) and not (tmp_path / "out").exists()
    assert not [path for path in hub.asked if path.startswith(("POST", "PUT"))]


def test_a_private_repository_needs_an_upload(tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="is of --push_to_hub"):
        export(ModelArguments(device="cpu"), ExportArguments(str(tmp_path / "out"), hub_private_repo=True))


def test_another_ones_name_is_refused_and_the_export_is_kept(hub: SmallHub, exported: Path) -> None:
    with pytest.raises(UploadError, match=r"you may not write there.*hf upload acme/new"):
        upload(exported, destination("acme/new", private=False))
    assert hub.repositories.keys() == {"me/mine", "acme/tiny"} and (exported / "config.json").is_file()


def test_a_hub_that_does_not_answer_is_one_line(hub: SmallHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(UploadError, match=r"127\.0\.0\.1:9 does not answer; nothing was written"):
        destination("me/new", private=False)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(UploadError, match="HF_HUB_OFFLINE is set"):
        destination("me/new", private=False)
    assert hub.asked == []


def test_a_base_from_the_hub_is_named_with_its_licence_and_nothing_is_uploaded_without_the_flag(
    hub: SmallHub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The whole way: the base comes from the hub, keeps its dtype, and goes back to it with adapters beside it."""
    hub.repositories["acme/mini"] = MINI_LLAVA
    forget()
    out, args = tmp_path / "out", ModelArguments(device="cpu", llava_path="acme/mini")
    export(args, ExportArguments(str(out)))
    assert not [path for path in hub.asked if path.startswith(("POST", "PUT"))]
    assert 'place = "out"' in (out / "README.md").read_text()
    assert read_json(out / "config.json")["dtype"] == "float16"
    export(args, ExportArguments(str(out), push_to_hub="me/pushed", restart=True))
    assert capsys.readouterr().out == f"{hub.url}/me/pushed\n"
    card = ModelCard.load(hub.repositories["me/pushed"] / "README.md")
    assert (card.data.library_name, card.data.pipeline_tag) == ("transformers", "image-text-to-text")
    assert (card.data.license, card.data.base_model) == ("apache-2.0", "acme/mini")
    assert 'place = "me/pushed"' in card.text and str(tmp_path) not in card.text
    forget()
