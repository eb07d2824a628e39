"""A tokenizer.json with exactly the ids of a SentencePiece BPE model, for transformers to load."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from common.models.text.tokenizers import BLANK, SentencePieceTokenizer

Merge = tuple[str, str]


def convert(source: SentencePieceTokenizer, extra: Iterable[str] = (), max_length: int = 4096) -> Any:
    """A PreTrainedTokenizerFast equal to the model, its special tokens and dummy prefixes included.

    Args:
        extra: further special tokens, which get the ids behind the model's.
        max_length: model_max_length that it states.
    """
    from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, processors
    from transformers import PreTrainedTokenizerFast

    vocabulary, scores = _pieces(source)
    unk, bos, eos = (source.model.id_to_piece(i) for i in (source.unk_id, source.bos_id, source.eos_id))
    plain = Tokenizer(
        models.BPE(vocabulary, _merges(vocabulary, scores), unk_token=unk, fuse_unk=True, byte_fallback=True)
    )
    # Each stretch between special tokens gets its own blank in front, as in the original slow tokenizer.
    plain.normalizer = normalizers.Sequence([normalizers.Prepend(BLANK), normalizers.Replace(" ", BLANK)])
    plain.decoder = decoders.Sequence(
        [decoders.Replace(BLANK, " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    plain.post_processor = processors.TemplateProcessing(
        single=f"{bos} $A", pair=f"{bos} $A {bos} $B", special_tokens=[(bos, source.bos_id)]
    )
    plain.add_special_tokens([AddedToken(token, normalized=False) for token in (unk, bos, eos, *extra)])
    return PreTrainedTokenizerFast(
        tokenizer_object=plain,
        unk_token=unk,
        bos_token=bos,
        eos_token=eos,
        pad_token=unk,
        padding_side="left",
        model_max_length=max_length,
        clean_up_tokenization_spaces=False,
    )


def _pieces(source: SentencePieceTokenizer) -> tuple[dict[str, int], dict[str, float]]:
    """Piece -> id of everything, and piece -> score of what text can merge to."""
    model = source.model
    vocabulary = {model.id_to_piece(i): i for i in range(source.vocab_size)}
    scores = {
        piece: model.get_score(i)
        for piece, i in vocabulary.items()
        if not (model.is_byte(i) or model.is_control(i) or model.is_unknown(i))
    }
    return vocabulary, scores


def _merges(vocabulary: dict[str, int], scores: dict[str, float]) -> list[Merge]:
    """All pairs of pieces that make a piece, in SentencePiece's order: by the score of the whole."""
    found: list[tuple[float, int, int, Merge]] = []
    for whole, score in scores.items():
        for cut in range(1, len(whole)):
            left, right = whole[:cut], whole[cut:]
            if left in scores and right in scores:
                found.append((-score, vocabulary[left], vocabulary[right], (left, right)))
    return [merge for *_, merge in sorted(found)]
