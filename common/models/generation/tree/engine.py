"""Trees grown in slots: what has ended makes room for the next, so that short answers do not wait for long ones."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from common.models.generation.search.beams import Beams
from common.models.generation.search.branches import Branches
from common.models.generation.tree.attention import KeysValues, StartAttention, StepAttention, TrunkAttention
from common.models.generation.tree.tables import Tables
from common.models.generation.tree.trees import Answer, Tree

if TYPE_CHECKING:
    from common.models.generation.decoding import Decoding
    from common.models.generation.tree.llama import Decoder
    from common.models.generation.tree.shapes import TableShape

TOGETHER = 512  # positions of trunks that are worth a pass of their own


@dataclass
class Slot:
    """A slot's tree, which of its branches stands in which row, and which have not begun."""

    tree: Tree
    waiting: list[int]
    rows: list[int | None]
    at: list[int]  # tokens of each row in the pool


class TreeDecoder:
    """Grows trees.

    Args:
        decoder: the model's.
        shape: of the tables.
        decoding, stop_ids: how branches are grown.
        root: input embeddings [r, d] of what all trees begin with; r may be 0.
    """

    def __init__(
        self, decoder: Decoder, shape: TableShape, decoding: Decoding, stop_ids: Collection[int], root: Tensor
    ) -> None:
        self.decoder, self.shape = decoder, shape
        self.tables = Tables(decoder, shape, root.dtype)
        self.rotations = decoder.rotations(shape.trunk + shape.depth, root.dtype)
        self.beams = decoding.num_beams > 1
        self.search: Beams | Branches
        if self.beams:
            self.search = Beams(shape.slots, decoding, stop_ids, decoder.device)
        else:
            self.search = Branches((shape.slots, shape.branches), decoding, stop_ids, decoder.device)
        self.slots: list[Slot] = []
        self.root_length = len(root)
        with torch.inference_mode():
            self.root = self._grow_root(root)

    def run(self, trees: Iterable[Tree]) -> Iterator[Answer]:
        """Answers of all branches, in the order in which they end. Trees are taken when there is room for them."""
        source = iter(trees)
        more = True
        while True:
            if more:
                more = self._admit(source)
            if not self.slots:
                return
            with torch.inference_mode():
                self._begin_waiting()
                self._step()
                ended = self._harvest()
            yield from ended

    # Trees come and go

    def _admit(self, source: Iterator[Tree]) -> bool:
        """Fill free slots, several at a time; whether there may be more trees."""
        free = self.shape.slots - len(self.slots)
        group = max(1, -(-TOGETHER // max(1, self.shape.trunk)))
        if self.slots and free < min(group, self.shape.slots):
            return True
        while free > 0:
            trees = list(islice(source, min(group, free)))
            if trees:
                with torch.inference_mode():
                    self._plant(trees)
            if len(trees) < min(group, free):
                return False
            free -= len(trees)
        return True

    def _plant(self, trees: list[Tree]) -> None:
        """Compute trunks and put them into the next free slots."""
        first = len(self.slots)
        slots = torch.arange(first, first + len(trees), device=self.decoder.device)
        lengths = [len(tree.trunk) for tree in trees]
        filled = torch.tensor(lengths, device=slots.device) + self.root_length
        self.tables.trunk[slots] = filled
        if max(lengths):
            self._grow_trunks(torch.nn.utils.rnn.pad_sequence([tree.trunk for tree in trees], True), slots)
        else:
            for layer, (key, value) in enumerate(self.root or ()):
                self.tables.keys[layer][slots, :, : self.root_length] = key
                self.tables.values[layer][slots, :, : self.root_length] = value
        for tree in trees:
            rows = 1 if self.beams else self.shape.branches  # the beams of a slot are one branch
            self.slots.append(Slot(tree, list(range(len(tree.starts))), [None] * rows, [0] * rows))

    def _grow_trunks(self, trunks: Tensor, slots: Tensor) -> None:
        """[n, q, d] embeddings, padded at their ends, into the slots [n]."""
        count, length, _ = trunks.shape
        attention = TrunkAttention(self.tables, count, self.decoder.scaling, slots, self.root, [])
        positions = torch.arange(self.root_length, self.root_length + length, device=slots.device).repeat(count)
        self.decoder.run(trunks.flatten(0, 1), self.rotations.at(positions), attention, keys_only_last=True)

    def _grow_root(self, root: Tensor) -> list[KeysValues] | None:
        if not len(root):
            return None
        attention = TrunkAttention(self.tables, 1, self.decoder.scaling, None, None, [])
        positions = torch.arange(len(root), device=root.device)
        self.decoder.run(root, self.rotations.at(positions), attention, keys_only_last=True)
        return attention.made

    def _begin_waiting(self) -> None:
        """Let branches begin in rows that are free."""
        begun: list[tuple[int, int, int]] = []  # slot, row, branch
        for number, slot in enumerate(self.slots):
            for row, branch in enumerate(slot.rows):
                if branch is None and slot.waiting:
                    slot.rows[row] = slot.waiting.pop(0)
                    begun.append((number, row, slot.rows[row] or 0))
        if begun:
            self._begin(begun)

    def _begin(self, begun: list[tuple[int, int, int]]) -> None:
        """Compute what the branches have for themselves, all but their last id, which the next step reads."""
        device = self.decoder.device
        starts = [self.slots[slot].tree.starts[branch] for slot, _, branch in begun]
        names = [self.slots[slot].tree.names[branch] for slot, _, branch in begun]
        slots = torch.tensor([slot for slot, _, _ in begun], device=device)
        rows = torch.tensor([row for _, row, _ in begun], device=device)
        self.search.start(slots, rows, names)
        if max(map(len, starts)) > 1:
            self._grow_starts([start[:-1] for start in starts], slots, rows)
        last = self.decoder.embed(torch.tensor([(*start, 0)[len(start) - 1] for start in starts], device=device))
        for place, (slot, _, _) in enumerate(begun):
            tip = self.slots[slot].tree.tip
            if tip is not None:
                last[place] = tip
        lengths = [max(0, len(start) - 1) for start in starts]
        for (slot, row, _), length in zip(begun, lengths, strict=True):
            self.slots[slot].at[row] = length
        at = torch.tensor(lengths, device=device)
        if self.beams:  # the beams of a slot begin alike
            every = torch.arange(self.shape.branches, device=device)
            slots, rows = slots.repeat_interleave(len(every)), every.repeat(len(slots))
            last, at = last.repeat_interleave(len(every), 0), at.repeat_interleave(len(every))
        self.tables.begin(slots, rows, at, last)

    def _grow_starts(self, starts: list[tuple[int, ...]], slots: Tensor, rows: Tensor) -> None:
        device = self.decoder.device
        ids = torch.nn.utils.rnn.pad_sequence([torch.tensor(start, dtype=torch.long) for start in starts], True)
        steps = torch.arange(ids.shape[1], device=device)
        positions = (self.tables.trunk[slots][:, None] + steps).flatten()
        attention = StartAttention(self.tables, slots, rows, self.decoder.scaling)
        embeds = self.decoder.embed(ids.to(device)).to(self.tables.inputs.dtype)
        self.decoder.run(embeds.flatten(0, 1), self.rotations.at(positions), attention, keys_only_last=True)

    # One token more

    def _step(self) -> None:
        """Every row reads one token and writes one."""
        depth = min(self.shape.depth, 1 + max(max(slot.at) for slot in self.slots))
        self._compute(len(self.slots), depth)
        for slot in self.slots:
            slot.at = [at + (branch is not None) for at, branch in zip(slot.at, slot.rows, strict=True)]

    def _compute(self, live: int, depth: int) -> None:
        tables = self.tables
        place, positions = tables.enter(live)
        hidden = tables.inputs[:live].flatten(0, 1)
        sees = torch.zeros((), dtype=hidden.dtype, device=hidden.device).where(tables.view(live, depth), float("-inf"))
        attention = StepAttention(tables, place, sees, self.decoder.scaling)
        hidden = self.decoder.run(hidden, self.rotations.at(positions.flatten()), attention)
        ids, parents = self.search.choose(self.decoder.logits(hidden), live)
        tables.leave(live, self.decoder.embed(ids), parents, self.search.over)

    def _harvest(self) -> list[Answer]:
        """Answers of the branches that have ended; slots with nothing left to grow are given away."""
        over = self.search.over[: len(self.slots)].tolist()
        answers = []
        for number, slot in enumerate(self.slots):
            for row, ended in enumerate(over[number]):
                branch = slot.rows[row]
                if ended and branch is not None:
                    answers.append(Answer(slot.tree.number, branch, self.search.result(number, row)))
                    slot.rows[row] = None
        for number in reversed(range(len(self.slots))):
            slot = self.slots[number]
            if not slot.waiting and all(branch is None for branch in slot.rows):
                self._release(number)
        return answers

    def _release(self, number: int) -> None:
        """Let the last slot take the place of one that is empty."""
        last = self.slots.pop()
        if number < len(self.slots):
            filled = self.shape.trunk + self.shape.branches * min(self.shape.depth, 1 + max(last.at))
            self.tables.move(len(self.slots), number, filled, self.search.tensors())
            self.slots[number] = last
