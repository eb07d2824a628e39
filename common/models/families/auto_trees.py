"""How `auto` answers: by the decoder of trees where its decoder's layers are a Llama's, else by transformers' generate.

Rotations of any scheme, and what a decoder adds between its layers, are taken from the model's own forward over the
prompt; behind it, each token has the next position. That this gives the model's own logits is tried out at first use.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from common.errors import first_line
from common.models.anatomy import Anatomy
from common.models.families.raw_images import TextPrompt
from common.models.generation.asking import Asked, Said
from common.models.generation.decoding import Decoding
from common.models.generation.growing import grow_trees
from common.models.generation.plain import in_batches
from common.models.generation.tree.attention import causal
from common.models.generation.tree.kernels import runs_fast
from common.models.generation.tree.llama import Decoder, decoder_of, unlike
from common.models.generation.tree.memory import copies_fit
from common.models.generation.tree.rotations import Rotations
from common.models.generation.tree.trees import Given, Ids, Tree, shared_start
from common.models.packed.foreign.handing import Handed, Unpackable, handed_over, with_tail
from common.models.packed.foreign.layers import DENSE, attending, layers_of
from common.models.packed.foreign.trial import CLOSE, CLOSE_16
from common.models.packed.foreign.within import text_rotations, within
from common.models.text.ids import PromptIds
from common.progress import announce_once

if TYPE_CHECKING:
    from common.models.base import CaptionModel as Mixed
    from common.models.packed.foreign.layout import GivenRow
else:
    Mixed = object  # `Auto` brings the model itself

MANY = 2000  # images from which on compiling transformers' steps (27 to 118 s on an H100) takes less than it saves
TAIL = 3  # ids behind the prompt of a trial
# In 16 bits the bound grows with the depth: so many times what the model's own logits differ by between two exact ways
# to attend, of which no more than a sixth of the largest counts.
NOISE, TOO_NOISY = 2.0, 1 / 6


@dataclass(frozen=True)
class TextTurns:
    """Rotations of the positions of a text, as a decoder makes them; `form`: how it is called."""

    trunk: Any
    form: Handed

    def __call__(self, positions: int, dtype: torch.dtype) -> Rotations:
        cos, sin = text_rotations(self.trunk, layers_of(self.trunk), self.form, positions)
        return Rotations.of(cos.to(dtype), sin.to(dtype))


@dataclass
class Grove:
    """Trees as they are made, and what could not be made one.

    Attributes:
        asked: of each tree, the question's number and the places of its prompts.
        left: numbers and images of questions that are left to transformers.
    """

    asked: list[tuple[int, tuple[int, ...]]] = field(default_factory=list)
    left: list[tuple[int, Any]] = field(default_factory=list)


class GrowingAuto(Mixed):
    """The answering side of `auto`. `anatomy` and `trunk` are those of the model."""

    anatomy: Anatomy
    compiles_steps: bool = False  # whether transformers' generate does

    def trunk(self) -> Any:
        """The decoder, without head."""
        raise NotImplementedError

    def row_of(self, image: Any, prompt: PromptIds) -> GivenRow:
        """What the processor makes of an image and a prompt, on the model's device."""
        raise NotImplementedError

    def check_room(self, tokens: int, image: Any, text: str) -> None:
        """Raise DataError for an image that with its text makes more tokens than the model has positions for."""
        raise NotImplementedError

    def trial_row(self) -> GivenRow:
        """The same of a picture and a prompt that are always there."""
        raise NotImplementedError

    def answers(
        self, questions: Sequence[Asked], features: Iterable[Any], decoding: Decoding, most: int | None = None
    ) -> Iterator[Said]:
        """As for every model; what makes the answers is said once a process."""
        if isinstance(self.text_turns, str):
            announce_once(f"answers are made by transformers' own generate: {self.text_turns}")
            self.compiles_steps = len(questions) >= MANY
            return in_batches(self.continue_batch, questions, features, decoding, most)
        announce_once("answers are made by the decoder of trees")
        return self._grown(self.text_turns, questions, features, decoding.checked(), most)

    @cached_property
    def text_turns(self) -> TextTurns | str:
        """Rotations of what is generated; or why the decoder of trees does not run this model, in words."""
        if not self.anatomy.cut_out:
            return "its decoder is not a module of its own"
        reason = unlike(self.trunk())
        if reason is not None:
            return reason
        try:
            return try_trees(self.lm, self.trunk(), self.trial_row())
        except Unpackable as found:
            return str(found)

    @torch.no_grad()
    def _grown(
        self,
        turns: TextTurns,
        questions: Sequence[Asked],
        features: Iterable[Any],
        decoding: Decoding,
        most: int | None,
    ) -> Iterator[Said]:
        """Answers by trees; then those of the images whose positions are not a text's behind the prompt."""
        trunk, grove = self.trunk(), Grove()
        decoder = decoder_of(
            trunk, self.lm.get_output_embeddings(), join=copies_fit(trunk), fast=runs_fast(trunk), turns=turns
        )
        trees = self._trees(trunk, questions, features, grove)
        for answer in grow_trees(decoder, trees, len(questions), decoding, self.stop_ids, most):
            number, places = grove.asked[answer.tree]
            yield Said(number, places[answer.branch], answer.ids)
        rest = [questions[number] for number, _ in grove.left]
        for said in in_batches(self.continue_batch, rest, [image for _, image in grove.left], decoding, most):
            yield Said(grove.left[said.asked][0], said.place, said.ids)

    def _trees(self, trunk: Any, questions: Sequence[Asked], features: Iterable[Any], grove: Grove) -> Iterator[Tree]:
        """Those of all images, and nothing for those that are left."""
        for number, image in enumerate(features):
            if image is None:
                continue
            asked = questions[number]
            whole = tuple(range(len(asked.prompts)))
            made = self._trees_of(trunk, image, asked, [whole]) or (
                self._trees_of(trunk, image, asked, [(place,) for place in whole]) if len(whole) > 1 else []
            )
            if not made:
                grove.left.append((number, image))
            for places, tree in made:
                grove.asked.append((number, places))
                yield replace(tree, number=len(grove.asked) - 1)

    def _trees_of(
        self, trunk: Any, image: Any, asked: Asked, parts: Sequence[tuple[int, ...]]
    ) -> list[tuple[tuple[int, ...], Tree]]:
        """A tree for each part of an image's prompts, if all of them can be trees; else none."""
        made = []
        for places in parts:
            prompts = [asked.prompts[place] for place in places]
            row = self.row_of(image, prompts[0])
            tails = tails_of(row, prompts)
            for prompt, tail in zip(prompts, tails, strict=False):  # the processor has been given the first alone
                text = prompt.text if isinstance(prompt, TextPrompt) else ""
                self.check_room(row.image_at[1] + len(tail), image, text)
            tree = tails and tree_of(self.lm, trunk, row, tails, tuple(asked.names[place] for place in places))
            if not tree:
                return []
            made.append((places, tree))
        return made


def tails_of(row: GivenRow, prompts: Sequence[PromptIds]) -> list[Ids]:
    """Ids behind the image of each prompt, from the row of the first; none if they cannot share what is before.

    A processor may put ids of its own between the image and the text after it.
    """
    ids = tuple(row.inputs["input_ids"][0].tolist())
    tail, after = ids[row.image_at[1] :], prompts[0].after
    if len(prompts) == 1:
        return [tail]
    own = len(tail) - len(after)
    if own < 0 or tail[own:] != after or len({prompt.before for prompt in prompts}) > 1:
        return []
    return [tail[:own] + prompt.after for prompt in prompts]


def tree_of(lm: Any, trunk: Any, row: GivenRow, tails: Sequence[Ids], names: tuple[str, ...]) -> Tree | None:
    """A row as the trunk of a tree, with its tails as branches; None if what is behind it is no plain text."""
    try:
        inside = within(trunk, layers_of(trunk), handed_over(lm, trunk, row.inputs))
    except Unpackable:
        return None
    length = len(inside.hidden)
    ends_with_image = not tails[0]
    cut = length - 1 if ends_with_image else length - len(tails[0]) + shared_start(tails)
    begin = inside.begins(cut)
    if begin is None or begin > cut:  # tables of rotations are as long as the text
        return None
    added = {layer: more[:cut] for layer, more in inside.added.items()}
    given = Given(Rotations.of(inside.cos[:cut], inside.sin[:cut]), begin, added)
    if ends_with_image:
        return None if added else Tree(0, inside.hidden[:cut], ((),), names, inside.hidden[-1], given)
    shared = cut - (length - len(tails[0]))
    return Tree(0, inside.hidden[:cut], tuple(tail[shared:] for tail in tails), names, None, given)


@torch.no_grad()
def try_trees(lm: Any, trunk: Any, row: GivenRow) -> TextTurns:
    """Whether a decoder's functions give the model's own logits, rotations of a text's positions behind the prompt.

    Raises Unpackable with the reason if they do not.
    """
    try:
        turns, share, found, plain = _trial(lm, trunk, row)
        worst = _apart(found, plain)
        if worst > share == CLOSE_16:
            share = max(share, NOISE * own_noise(lm, trunk, row, plain))
    except (torch.OutOfMemoryError, Unpackable):
        raise
    except Exception as error:  # whatever a model raises that is run in a way it was not written for
        raise Unpackable(f"a trial ended with {type(error).__name__}: {first_line(error)}") from None
    if not worst <= share:
        raise Unpackable(f"a trial of its decoder gave logits that differ by {worst:.1%} from the model's own")
    return turns


def own_noise(lm: Any, trunk: Any, row: GivenRow, plain: Tensor) -> float:
    """By what share a model's own logits differ between two exact ways to attend: what 16 bits make of its depth."""
    found = []
    for way in DENSE:
        with attending(trunk, way):
            found.append(lm(**_with_trial_tail(row), use_cache=False).logits[0, -TAIL:].float())
    return min(max(_apart(logits, plain) for logits in found), TOO_NOISY)


def _apart(found: Tensor, plain: Tensor) -> float:
    return float((found - plain).abs().max() / plain.abs().max().clamp_min(1e-6))


def _with_trial_tail(row: GivenRow) -> dict[str, Tensor]:
    return with_tail(row.inputs, row.inputs["input_ids"][:, -1:].repeat(1, TAIL))


def _trial(lm: Any, trunk: Any, row: GivenRow) -> tuple[TextTurns, float, Tensor, Tensor]:
    """Rotations of a text, by what share logits may differ, logits of a prompt and some ids behind it, those right."""
    embed = lm.get_input_embeddings()
    inputs = _with_trial_tail(row)
    ids = inputs["input_ids"][:, -TAIL:]
    plain = lm(**inputs, use_cache=False).logits[0, -TAIL:].float()
    handed = handed_over(lm, trunk, inputs)
    inside = within(trunk, layers_of(trunk), handed)
    cut = len(inside.hidden) - TAIL
    begin = inside.begins(cut)
    if begin is None:
        raise Unpackable("the positions behind its prompt are not one after the other")
    turns = TextTurns(trunk, {key: handed[key] for key in ("inputs_embeds", "position_ids") if key in handed})
    text = turns(begin + TAIL, inside.cos.dtype).at(torch.arange(begin, begin + TAIL, device=embed.weight.device))
    own = Rotations.of(inside.cos[:cut], inside.sin[:cut])
    whole = Rotations(torch.cat((own.cos, text.cos)), torch.cat((own.sin, text.sin)))
    decoder = decoder_of(trunk, lm.get_output_embeddings(), join=False, fast=runs_fast(trunk), turns=turns)
    hidden = torch.cat((inside.hidden[:cut], embed(ids[0])))
    found = decoder.logits(decoder.run(hidden, _Causal(decoder, whole), added=inside.added)[-TAIL:])
    return turns, CLOSE if embed.weight.dtype.itemsize > 2 else CLOSE_16, found, plain


@dataclass(frozen=True)
class _Causal:
    """One row that attends to itself."""

    decoder: Decoder
    turns: Rotations

    def __call__(self, _layer: int, joined: Tensor) -> Tensor:
        query, key, value = (x.transpose(0, 1)[None] for x in self.turns.split(joined, self.decoder.key_heads))
        return causal(query, key, value, 0, self.decoder.scaling).transpose(1, 2).flatten(2)[0]
