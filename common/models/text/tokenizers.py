"""Two tokenizers behind one small interface: a SentencePiece model exactly as published, and a tokenizer.json.

The published models tokenize pieces of text separately, each with its own dummy prefix. transformers' own loading of a
folder that holds only tokenizer.model does not reproduce that, so the `sentencepiece` package is used directly and the
special tokens are split out here, as the original slow tokenizer does.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from common.errors import CheckpointError, first_line
from common.paths import display

BLANK = "\N{LOWER ONE EIGHTH BLOCK}"  # how SentencePiece writes a space
Offsets = list[tuple[int, int]]


class TextTokenizer(Protocol):
    """What adapters need of a tokenizer."""

    bos_id: int
    eos_id: int
    unk_id: int
    vocab_size: int

    def encode(self, text: str) -> list[int]:
        """Token ids without beginning or end symbols; those written out in the text become their ids."""

    def encode_with_offsets(self, text: str) -> tuple[list[int], Offsets]:
        """The same with (start, end) characters of each token."""

    def decode(self, ids: Sequence[int]) -> str:
        """Text of the ids, special tokens left out."""

    def id_of(self, piece: str) -> int:
        """Id of one vocabulary entry; `unk_id` if there is none."""


class SentencePieceTokenizer:
    """A SentencePiece model file read by the `sentencepiece` package.

    `<s>`, `</s>` and `<unk>` in the text become their ids and each stretch between them is encoded by itself.
    """

    def __init__(self, path: Path) -> None:
        """Read tokenizer.model. Raises CheckpointError for a file that is not one."""
        import sentencepiece

        self.path = path
        try:
            self.model: Any = sentencepiece.SentencePieceProcessor(model_file=str(path))
        except (OSError, RuntimeError):
            raise CheckpointError(f"{display(path)} is not a SentencePiece model; copy it again") from None
        self.bos_id = int(self.model.bos_id())
        self.eos_id = int(self.model.eos_id())
        self.unk_id = int(self.model.unk_id())
        self.vocab_size = int(self.model.vocab_size())
        self._dummy_prefix = str(self.model.encode("a", out_type=str)[0]).startswith(BLANK)
        self._special = {self.model.id_to_piece(i): i for i in (self.unk_id, self.bos_id, self.eos_id) if i >= 0}
        self._cut = re.compile("(" + "|".join(re.escape(piece) for piece in self._special) + ")")

    def encode(self, text: str) -> list[int]:
        """See :class:`TextTokenizer`."""
        ids: list[int] = []
        for part in self._cut.split(text):
            if part in self._special:
                ids.append(self._special[part])
            elif part:
                ids.extend(self.model.encode(part))
        return ids

    def encode_with_offsets(self, text: str) -> tuple[list[int], Offsets]:
        """See :class:`TextTokenizer`. Raises CheckpointError for a model whose normaliser changes the text."""
        ids: list[int] = []
        offsets: Offsets = []
        start = 0
        for part in self._cut.split(text):
            if part in self._special:
                ids.append(self._special[part])
                offsets.append((start, start + len(part)))
            elif part:
                pieces = self.model.encode(part, out_type=str)
                found = [int(self.model.piece_to_id(piece)) for piece in pieces]
                ids.extend(found)
                offsets.extend((start + a, start + b) for a, b in self._spans(part, pieces, found))
            start += len(part)
        return ids, offsets

    def _spans(self, text: str, pieces: Sequence[str], ids: Sequence[int]) -> Offsets:
        """Characters of each piece, walking along the text; the bytes of one character all get its span."""
        spans: Offsets = []
        at, pending = 0, b""
        for i, (piece, number) in enumerate(zip(pieces, ids, strict=True)):
            if self.model.is_byte(number):
                pending += bytes([int(piece[3:5], 16)])
                spans.append((at, at + 1))
                if pending == text[at : at + 1].encode():
                    at, pending = at + 1, b""
                continue
            # The dummy prefix stands for no character: it is one blank more than the text has here.
            length = len(piece) - (i == 0 and self._dummy_prefix)
            if i and not self._fits(text, piece, at):
                raise CheckpointError(f"{display(self.path)} normalises text; offsets of captions are not defined")
            spans.append((at, at + length))
            at += length
        return spans

    @staticmethod
    def _fits(text: str, piece: str, at: int) -> bool:
        return text[at : at + len(piece)].replace(" ", BLANK) == piece

    def decode(self, ids: Sequence[int]) -> str:
        """See :class:`TextTokenizer`."""
        special = set(self._special.values())
        return str(self.model.decode([i for i in ids if i not in special and i < self.vocab_size]))

    def id_of(self, piece: str) -> int:
        """See :class:`TextTokenizer`."""
        return int(self.model.piece_to_id(piece))


class FastTokenizer:
    """A tokenizer of the `tokenizers` library, as transformers wraps it.

    Args:
        model: PreTrainedTokenizerFast or the like.
        path: where it came from, for messages.
    """

    def __init__(self, model: Any, path: Path) -> None:
        """Raises CheckpointError if there is no end symbol."""
        self.path = path
        self.model = model
        self.eos_id = self._special_id("eos_token", "</s>")
        # Some families have no beginning symbol; then nothing is put in front of a text.
        self.bos_id = -1 if self.model.bos_token is None else self._special_id("bos_token", "<s>")
        # Looked up here: transformers asks itself without end for the id of an unknown symbol that is not there.
        self.unk_id = int(self.model.get_vocab().get(str(self.model.unk_token), -1))
        self.vocab_size = len(self.model)

    @classmethod
    def from_folder(cls, folder: Path) -> FastTokenizer:
        """Read tokenizer.json, and the names of special tokens beside it. Raises CheckpointError if it is malformed."""
        from transformers import PreTrainedTokenizerFast

        path = folder / "tokenizer.json"
        try:
            model = PreTrainedTokenizerFast.from_pretrained(str(folder))
        except Exception as error:  # the tokenizers library raises bare Exception
            raise CheckpointError(f"{display(path)} cannot be read: {first_line(error)}") from None
        return cls(model, path)

    def _special_id(self, name: str, usual: str) -> int:
        token = str(getattr(self.model, name) or usual)
        found = self.model.get_vocab().get(token)
        if found is None:
            raise CheckpointError(
                f"{display(self.path)} has no {token!r}; name the {name} in tokenizer_config.json beside it"
            )
        return int(found)

    def encode(self, text: str) -> list[int]:
        """See :class:`TextTokenizer`."""
        return list(self.model(text, add_special_tokens=False)["input_ids"])

    def encode_with_offsets(self, text: str) -> tuple[list[int], Offsets]:
        """See :class:`TextTokenizer`."""
        found = self.model(text, add_special_tokens=False, return_offsets_mapping=True)
        return list(found["input_ids"]), [(int(a), int(b)) for a, b in found["offset_mapping"]]

    def decode(self, ids: Sequence[int]) -> str:
        """See :class:`TextTokenizer`."""
        return str(self.model.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False))

    def id_of(self, piece: str) -> int:
        """See :class:`TextTokenizer`."""
        return int(self.model.get_vocab().get(piece, self.unk_id))


def load_tokenizer(folder: Path, prefer_fast: bool) -> TextTokenizer:
    """The folder's tokenizer: tokenizer.model for the original layouts, tokenizer.json for converted ones.

    Where only the other file exists, that one. Raises CheckpointError if there is neither.
    """
    slow = folder / "tokenizer.model"
    fast = folder / "tokenizer.json"
    if fast.is_file() and (prefer_fast or not slow.is_file()):
        return FastTokenizer.from_folder(folder)
    if slow.is_file():
        return SentencePieceTokenizer(slow)
    raise CheckpointError(f"neither tokenizer.model nor tokenizer.json in {display(folder)}; copy it from the release")
