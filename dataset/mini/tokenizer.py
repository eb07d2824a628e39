"""The mini models' tokenizer: a LLaMA-style BPE (dummy prefix, byte fallback) over the words of this world."""

from __future__ import annotations

from collections.abc import Iterable

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

VOCABULARY = 1024
SPACE = "▁"  # as in SentencePiece
IMAGE_TOKEN = "<image>"
BYTES = [f"<0x{value:02X}>" for value in range(256)]


def train_bpe(texts: Iterable[str]) -> Tokenizer:
    """Learn merges from texts; ids 0-2 are `<unk> <s> </s>`, 3-258 bytes, as in LLaMA; `<image>`, `<pad>` follow."""
    learner = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    learner.normalizer = normalizers.Sequence([normalizers.Prepend(SPACE), normalizers.Replace(" ", SPACE)])
    words = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(SPACE, "merged_with_next"), pre_tokenizers.Punctuation("isolated")]
    )
    learner.pre_tokenizer = words
    special = ["<unk>", "<s>", "</s>", *BYTES, IMAGE_TOKEN, "<pad>"]
    learner.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=VOCABULARY, special_tokens=special))
    return learner


def llava_tokenizer(learner: Tokenizer) -> PreTrainedTokenizerFast:
    """The decoder's tokenizer: BOS in front, spaces restored when decoding."""
    learner.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    learner.decoder = decoders.Sequence(
        [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=_without_special_bytes(learner),
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        pad_token="<pad>",
        extra_special_tokens={"image_token": IMAGE_TOKEN},
        clean_up_tokenization_spaces=False,
        padding_side="right",
    )


def clip_tokenizer(learner: Tokenizer) -> PreTrainedTokenizerFast:
    """The scorer's text tokenizer: lower case; the end token has the highest id, where open_clip pools."""
    copy = Tokenizer.from_str(_without_special_bytes(learner).to_str())
    copy.normalizer = normalizers.Sequence([normalizers.Lowercase(), learner.normalizer])
    copy.add_special_tokens([AddedToken("<end>", special=True)])
    end = copy.token_to_id("<end>")
    copy.post_processor = processors.TemplateProcessing(single="$A <end>", special_tokens=[("<end>", end)])
    return PreTrainedTokenizerFast(tokenizer_object=copy, eos_token="<end>", unk_token="<unk>", pad_token="<pad>")


def _without_special_bytes(learner: Tokenizer) -> Tokenizer:
    """The trainer marks the bytes as special tokens, which decoding would drop; make them plain vocabulary."""
    import json

    state = json.loads(learner.to_str())
    state["added_tokens"] = [token for token in state["added_tokens"] if token["content"] not in BYTES]
    return Tokenizer.from_str(json.dumps(state))
