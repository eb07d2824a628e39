"""Models named by their id on the Hugging Face hub: `ORG/NAME`, `ORG/NAME@REVISION`, `ORG/NAME/FILE`.

Everything goes through huggingface_hub, so its cache and its variables hold (HF_HOME, HF_ENDPOINT, HF_HUB_OFFLINE,
HF_TOKEN). Only the files that a model is read from are fetched. What is here already wins: a path that exists is never
asked of the hub, and without a network the cache is taken. Also: which files of a folder hold a tokenizer.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath
from typing import TypeVar

from common.errors import CheckpointError, first_line
from common.paths import display
from common.progress import announce

PART = r"[A-Za-z0-9][\w.-]*"
ID = re.compile(
    rf"(?P<repo>{PART}/{PART})(?P<file>(?:/[\w.-]+)+\.(?:pth|pt|bin|safetensors))?(?:@(?P<revision>[\w./-]+))?"
)
BARE = re.compile(rf"(?P<repo>{PART})(?P<file>)(?:@(?P<revision>[\w./-]+))?")  # the oldest models have no ORG
PATIENCE = 8.0  # seconds until a hub that does not answer counts as out of reach
TEXTS = (".json", ".model", ".txt", ".jinja", ".py")
BESIDE = ("mm_projector.bin",)  # read over the other weights, whatever their form
WEIGHTS = (".safetensors", ".bin", ".pth")  # in the order of preference; one form is enough
PASSED_OVER = ("consolidated", "training_args", "optimizer")
TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "tekken.json", "spiece.model")
MODELS_OF_TOKENS = (".model", ".tiktoken", ".spm")  # suffixes of further files that hold a tokenizer
TOKENIZER_CONFIG = "tokenizer_config.json"

Answer = TypeVar("Answer")
_RESOLVED: dict[str, str] = {}  # id as it was given -> commit, of this process
_LICENCES: dict[str, str] = {}  # repository -> what the hub says of its licence


@dataclass(frozen=True)
class HubId:
    """What a value asks of the hub. `file` is empty for the whole model; `revision` is None for the default one."""

    repo: str
    file: str
    revision: str | None
    flag: str

    def __str__(self) -> str:
        return self.repo + (f" at {self.revision}" if self.revision else "")


def hub_id(text: str, flag: str, bare: bool = False) -> HubId | None:
    """The id that a value is; None for a path: one that exists, or that begins like one.

    Args:
        flag: where the value came from, for messages.
        bare: whether a name without ORG may be one.
    """
    if not text or text.startswith((".", "/", "~")) or Path(text).exists():
        return None
    found = ID.fullmatch(text) or (BARE.fullmatch(text) if bare else None)
    if found is None or ("/" in text and Path(text.split("/")[0]).is_dir()):
        return None
    return HubId(found["repo"], (found["file"] or "").lstrip("/"), found["revision"], flag)


def local(text: str, flag: str, bare: bool = False) -> str:
    """The folder or file on this machine that a value names, fetched from the hub first if it is an id.

    Raises CheckpointError, in one line: gated, no such repository, revision or file, no network and not in the cache,
    a cache that holds only a part.
    """
    asked = hub_id(text, flag, bare)
    if asked is None:
        return text
    folder = _fetched(asked)
    commit = folder.parent.name if folder.is_file() else folder.name
    _RESOLVED[text] = _commit_in(folder) or commit
    return str(folder)


def local_file(text: str, flag: str) -> str:
    """As :func:`local`, for a flag that takes a file: of a repository with one file of weights, that one.

    Raises CheckpointError if there is not exactly one.
    """
    found = Path(local(text, flag))
    if str(found) == text or not found.is_dir():
        return str(found)
    files = [path for path in sorted(found.iterdir()) if path.suffix in WEIGHTS]
    if len(files) != 1:
        names = ", ".join(path.name for path in files) or "none"
        raise CheckpointError(f"{flag} takes a file; name one of {text}'s as {text}/FILE (there: {names})")
    return str(files[0])


def resolved() -> Mapping[str, str]:
    """The commit of every id that this process has taken, for manifests."""
    return dict(_RESOLVED)


def licence_of(repo: str) -> str | None:
    """The licence that the hub stated when this process asked for a repository; None where it did not."""
    return _LICENCES.get(repo)


def _commit_in(path: Path) -> str | None:
    """The commit in a path of the cache, `.../snapshots/COMMIT/...`."""
    parts = path.parts
    return parts[parts.index("snapshots") + 1] if "snapshots" in parts[:-1] else None


@cache
def _fetched(asked: HubId) -> Path:
    """Look the id up, fetch what is missing, and return the folder (or file) in the cache."""
    from huggingface_hub import HfApi
    from huggingface_hub.constants import DEFAULT_REVISION
    from huggingface_hub.errors import OfflineModeIsEnabled

    try:
        revision = asked.revision or DEFAULT_REVISION  # the question that the fetching asks too
        about = within(PATIENCE, lambda: HfApi().model_info(asked.repo, revision=revision, timeout=PATIENCE))
    except OfflineModeIsEnabled:
        return _cached(asked, "HF_HUB_OFFLINE is set")
    except Exception as error:  # whatever the library's transport raises
        refusal = _refusal(asked, error)
        if refusal is not None:
            raise refusal from None
        return _cached(asked, f"{endpoint()} does not answer")
    licence = about.card_data.get("license") if about.card_data else None
    if isinstance(licence, str):
        _LICENCES[asked.repo] = licence
    return _download(asked, [sibling.rfilename for sibling in about.siblings or []])


def within(seconds: float, ask: Callable[[], Answer]) -> Answer:
    """The answer. Raises TimeoutError for none in time: a silent name server is in no timeout of the library."""
    answers: list[Answer] = []
    errors: list[BaseException] = []

    def work() -> None:
        try:
            answers.append(ask())
        except BaseException as error:  # raised again below, in the caller's thread
            errors.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(seconds)
    if errors:
        raise errors[0]
    if not answers:
        raise TimeoutError(f"no answer in {seconds:g} s")
    return answers[0]


def needed(names: Iterable[str]) -> list[str]:
    """Of a repository's files those that a model is read from: settings, tokenizer, and weights in one form."""
    top = [name for name in names if "/" not in name and not name.startswith(PASSED_OVER)]
    form = next((suffix for suffix in WEIGHTS if any(n.endswith(suffix) and n not in BESIDE for n in top)), "")
    kept = [n for n in top if n in BESIDE or (PurePosixPath(n).suffix in (*TEXTS, form) and n.lower() != "readme.txt")]
    unused = ".safetensors.index.json" if form == ".bin" else ".bin.index.json"
    return [name for name in kept if not name.endswith(unused)]


def has_tokenizer(folder: Path) -> bool:
    """Whether one of the files of a folder holds a tokenizer."""
    return any(file.name in TOKENIZERS or file.suffix in MODELS_OF_TOKENS for file in folder.iterdir())


def no_tokenizer(folder: Path, flag: str, files: Iterable[str] = TOKENIZERS) -> CheckpointError:
    """What to say of a folder without one."""
    return CheckpointError(
        f"no tokenizer in {display(folder)} (from {flag}): none of {', '.join(files)} is there; copy the release's, "
        f"with {TOKENIZER_CONFIG}"
    )


def _download(asked: HubId, names: list[str]) -> Path:
    from huggingface_hub import snapshot_download

    wanted = [name for name in names if name == asked.file] if asked.file else needed(names)
    if not any(name.endswith((*WEIGHTS, "config.json")) for name in wanted):
        what = f"no file {asked.file}" if asked.file else "no model that is read here"
        raise CheckpointError(f"{asked} (from {asked.flag}) holds {what}; see {endpoint()}/{asked.repo}")
    announce(f"{asked.flag}: {asked} of {endpoint()}, {len(wanted)} files (what the cache holds is not fetched again)")
    try:
        folder = snapshot_download(asked.repo, revision=asked.revision, allow_patterns=wanted)
    except Exception as error:  # whatever the library's transport raises
        raise _refusal(asked, error) or CheckpointError(
            f"{asked} (from {asked.flag}) could not be fetched whole: {first_line(error)}; run again to continue"
        ) from None
    return Path(folder, asked.file)


def _cached(asked: HubId, why: str) -> Path:
    """What the cache holds, whole. Raises CheckpointError otherwise."""
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.errors import IncompleteSnapshotError

    partial = False
    forms = [[asked.file]] if asked.file else [[*(f"*{t}" for t in TEXTS), f"*{form}"] for form in WEIGHTS]
    for patterns in forms:
        try:
            folder = Path(
                snapshot_download(asked.repo, revision=asked.revision, allow_patterns=patterns, local_files_only=True)
            )
        except IncompleteSnapshotError:
            partial = True
        except Exception:  # nothing is there, said in the library's words
            continue
        else:
            if any(folder.glob(patterns[-1])):
                announce(f"{asked.flag}: {why}; {asked} is taken from the cache ({folder.name[:12]})")
                return folder / asked.file
            partial = True
    state = "holds only a part of it" if partial else "does not hold it"
    raise CheckpointError(
        f"no {asked} here (from {asked.flag}): {why}, and the cache {constants.HF_HUB_CACHE} {state}; connect, "
        "set HF_ENDPOINT to a mirror or HF_HOME to another cache, or give a local folder"
    )


def _refusal(asked: HubId, error: BaseException) -> CheckpointError | None:
    """The hub's own no in one line; None where it gave no answer."""
    from huggingface_hub import errors

    where = f"{asked.repo} (from {asked.flag})"
    if isinstance(error, errors.GatedRepoError):
        page = f"{endpoint()}/{asked.repo}"
        return CheckpointError(
            f"{where} is gated: accept its terms at {page}, then log in with `hf auth login` or set HF_TOKEN"
        )
    if isinstance(error, errors.RevisionNotFoundError):
        return CheckpointError(f"{where} has no revision {asked.revision}; leave out @{asked.revision} for the default")
    if isinstance(error, errors.RepositoryNotFoundError):
        return CheckpointError(
            f"{where} is neither a file or folder here nor a repository of {endpoint()} that you may see; check the "
            "name, or log in with `hf auth login` if it is private"
        )
    if isinstance(error, errors.HFValidationError):
        return CheckpointError(f"{where} is neither a file or folder here nor a name on the hub")
    return None


def endpoint() -> str:
    """The address of the hub."""
    from huggingface_hub import constants

    return str(constants.ENDPOINT)


def forget() -> None:
    """Drop what this process knows of the hub; for tests."""
    _fetched.cache_clear()
    _RESOLVED.clear()
    _LICENCES.clear()
