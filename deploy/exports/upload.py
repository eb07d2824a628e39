"""An export on the Hugging Face hub: asked before anything slow, and only over nothing or an earlier one of ours."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from common.cards.base import CARD_FILE
from common.cards.card import is_ours, is_untouched
from common.errors import UserError, first_line
from common.files.hub import PATIENCE, endpoint, within
from common.paths import display
from common.progress import announce

FLAG = "--push_to_hub"
OF_THE_HUB = {".gitattributes"}  # what a new repository holds
# Of an earlier export, what may be left over: shards of another number, adapters of another kind.
REPLACED = ["*.safetensors", "*.safetensors.index.json", "*.pth"]

TRANSPORTS = ("httpx", "httpcore", "requests")  # packages whose errors are of the network

Answer = TypeVar("Answer")


class UploadError(UserError):
    """The hub does not take the export, or cannot be reached."""


@dataclass(frozen=True)
class Destination:
    """A repository that may be written to.

    Attributes:
        repo: ORG/NAME.
        private: whether to make it private; of one that is there already nothing is changed.
        exists: whether it is there.
        edited: whether its card was edited since it was uploaded, and is to be kept.
    """

    repo: str
    private: bool = False
    exists: bool = False
    edited: bool = False


def destination(name: str, private: bool) -> Destination:
    """Where `--push_to_hub NAME` would go; nothing is written for it.

    Args:
        name: ORG/NAME, or NAME, which belongs to whoever is logged in.

    Raises UploadError, in one line: no token, a token that may not write, no network, a name that is none, somebody
    else's repository, one with files that no export of ours made.
    """
    from huggingface_hub import HfApi, constants, get_token
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils._validators import validate_repo_id

    if constants.HF_HUB_OFFLINE:
        raise UploadError(f"{FLAG} {name}: HF_HUB_OFFLINE is set; unset it, or leave out {FLAG}")
    try:
        validate_repo_id(name)
    except HFValidationError:
        raise UploadError(f"{FLAG} '{name}' is no name of a repository; give ORG/NAME") from None
    if not get_token():
        raise UploadError(f"{FLAG} {name} needs a token that may write: `hf auth login`, or set HF_TOKEN")
    api = HfApi(endpoint=endpoint())
    repo = _owned(name, _asked(name, lambda: api.whoami()))
    names = _asked(repo, lambda: _files(api, repo))
    if names is None:
        return Destination(repo, private)
    card = _asked(repo, lambda: _card(api, repo)) if CARD_FILE in names else ""
    if not set(names) <= OF_THE_HUB and not is_ours(card):
        raise UploadError(
            f"{endpoint()}/{repo} (from {FLAG}) is there already and holds no export of ours; it is left as it is: "
            "give another name"
        )
    return Destination(repo, private, exists=True, edited=bool(card) and not is_untouched(card))


def _owned(name: str, who: dict[str, Any]) -> str:
    """ORG/NAME. Raises UploadError where it is known that this user may not write."""
    user = str(who.get("name", ""))
    token = who.get("auth", {}).get("accessToken", {})
    if isinstance(token, dict) and token.get("role") == "read":
        raise UploadError(f"{FLAG} {name}: the token of {user} may only read; make one that may write, or log in anew")
    return name if "/" in name else f"{user}/{name}"


def _files(api: Any, repo: str) -> list[str] | None:
    """Names of a repository's files; None if there is no such repository."""
    from huggingface_hub.errors import RepositoryNotFoundError

    try:
        return [sibling.rfilename for sibling in api.model_info(repo, timeout=PATIENCE).siblings or []]
    except RepositoryNotFoundError:
        return None


def _card(api: Any, repo: str) -> str:
    path = Path(api.hf_hub_download(repo, CARD_FILE, force_download=True))
    return path.read_text(encoding="utf-8", errors="replace")


def upload(folder: Path, there: Destination) -> str:
    """Put a whole export into its repository, and return the address.

    Raises UploadError, which says where the export lies and how to go on.
    """
    from huggingface_hub import HfApi

    api = HfApi(endpoint=endpoint())
    kept = f"; its {CARD_FILE} was edited there and is kept" if there.edited else ""
    announce(f"uploading {display(folder)} to {endpoint()}/{there.repo}{kept}")
    try:
        if not there.exists:
            api.create_repo(there.repo, private=there.private or None)
        api.upload_folder(
            repo_id=there.repo,
            folder_path=folder,
            commit_message="Export of an unlearned model",
            ignore_patterns=[CARD_FILE] if there.edited else None,
            delete_patterns=REPLACED if there.exists else None,
        )
    except (KeyboardInterrupt, SystemExit):
        raise
    except Exception as error:  # whatever the library's transport raises
        way = f"the export is whole in {display(folder)}: `hf upload {there.repo} {display(folder)}` uploads it"
        raise UploadError(f"{FLAG} {there.repo}: {_reason(error)}; {way}") from None
    return f"{endpoint()}/{there.repo}"


def _asked(repo: str, ask: Callable[[], Answer]) -> Answer:
    """An answer of the hub. Raises UploadError for none, and for a no."""
    try:
        return within(2 * PATIENCE, ask)
    except Exception as error:  # whatever the library's transport raises
        raise UploadError(f"{FLAG} {repo}: {_reason(error)}; nothing was written") from None


def _reason(error: BaseException) -> str:
    """Why, in the user's terms."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status == 401:
        return "the hub does not take the token; log in anew with `hf auth login`, or set another HF_TOKEN"
    if status == 403:
        return f"you may not write there ({first_line(error)}); give a name of your own or of an organisation of yours"
    if status is not None:
        return f"the hub answered {status} ({first_line(error)})"
    if isinstance(error, OSError | TimeoutError) or type(error).__module__.startswith(TRANSPORTS):
        proxy = " (through a proxy)" if os.environ.get("HTTPS_PROXY") else ""
        return f"{endpoint()} does not answer{proxy}"
    return first_line(error)
