"""Trees grown in slots: what has ended makes room for the next, so that short answers do not wait for long ones."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, islice
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from common.models.generation.search.beams import Beams
from common.models.generation.search.branches import Branches
from common.models.generation.tree.attention import KeysValues, StartAttention, StepAttention, TrunkAttention
from common.models.generation.tree.kernels import KernelAttention, KernelTrunkAttention, Way, best_way
from common.models.generation.tree.replay import Flags, replayed
from common.models.generation.tree.tables import Tables
from common.models.generation.tree.trees import Answer, Tree, added_to, turns_of
from common.transfer import Returned, sent

if TYPE_CHECKING:
    from common.models.generation.decoding import Decoding
    from common.models.generation.tree.llama import Decoder
    from common.models.generation.tree.shapes import TableShape

TOGETHER = {"cuda": 4096, "cpu": 512}  # positions of trunks that are worth a pass of their own


@dataclass
class Slot:
    """A slot's tree, which of its branches stands in which row, and which have not begun."""

    tree: Tree
    waiting: list[int]
    rows: list[int | None]
    at: list[int]  # tokens of each row in the pool
    begun: list[int]  # first step of each row


class TreeDecoder:
    """Grows trees.

    On a GPU all slots are computed in every step, which is one CUDA graph, and trunks several at a time, always as
    many: so no number depends on what else is grown. On the CPU the first slots are those in use.

    Args:
        decoder: the model's.
        shape: of the tables.
        decoding, stop_ids: how branches are grown.
        root: input embeddings [r, d] of what all trees begin with; r may be 0.
        way: how steps attend; None: the best one there is.
    """

    def __init__(
        self,
        decoder: Decoder,
        shape: TableShape,
        decoding: Decoding,
        stop_ids: Collection[int],
        root: Tensor,
        way: Way | None = None,
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
        rows = shape.branches * decoder.heads // decoder.key_heads
        self.way = way or best_way(decoder.device, root.dtype, decoder.head_size, rows)
        self.on_gpu = decoder.device.type == "cuda"
        self.slots: list[Slot | None] = [None] * shape.slots
        self.group = min(-(-shape.slots // 8), -(-TOGETHER[decoder.device.type] // max(1, shape.trunk)))
        self.steps = 0
        self.flags = Flags(lag=int(self.on_gpu))
        self.drawn: deque[Tree] = deque()
        self.leaving: deque[tuple[list[tuple[int, int]], Returned]] = deque()
        self.root_length = len(root)
        with torch.inference_mode():
            self.root = self._grow_root(root)
            self.whole_step = replayed(lambda: self._compute(shape.slots, shape.depth)) if self.on_gpu else None

    def run(self, trees: Iterable[Tree]) -> Iterator[Answer]:
        """Answers of all branches, in the order in which they end. Trees are taken when there is room for them."""
        return chain.from_iterable(self.run_steps(trees))

    def run_steps(self, trees: Iterable[Tree]) -> Iterator[list[Answer]]:
        """The same, step by step: the answers that ended with it, often none."""
        source = iter(trees)
        more = True
        while True:
            if more:
                more = self._admit(source)
            if not any(self.slots):
                yield self._arrived()
                return
            with torch.inference_mode():
                self._begin_waiting()
                self._step()
            if more and self.on_gpu:
                self._draw(source, self.group)
            with torch.inference_mode():
                ended = self._harvest()
            yield ended

    # Trees come and go

    def _admit(self, source: Iterator[Tree]) -> bool:
        """Fill free slots, several at a time; whether there may be more trees."""
        free = [number for number, slot in enumerate(self.slots) if slot is None]
        if len(free) < self.group:
            return True
        while free:
            chosen, free = free[: self.group], free[self.group :]
            self._draw(source, len(chosen))
            trees = [self.drawn.popleft() for _ in range(min(len(chosen), len(self.drawn)))]
            if trees:
                with torch.inference_mode():
                    self._plant(trees, chosen)
            if len(trees) < len(chosen):
                return False
        return True

    def _draw(self, source: Iterator[Tree], wanted: int) -> None:
        """Have so many trees ready; on a GPU they are made while a step runs."""
        self.drawn.extend(islice(source, max(0, wanted - len(self.drawn))))

    def _plant(self, trees: list[Tree], chosen: list[int]) -> None:
        """Compute trunks and put them into free slots."""
        rows = 1 if self.beams else self.shape.branches  # the beams of a slot are one branch
        for tree, number in zip(trees, chosen, strict=False):
            self.slots[number] = Slot(tree, list(range(len(tree.starts))), [None] * rows, [0] * rows, [0] * rows)
        places = list(range(len(trees)))
        if self.on_gpu:
            places += [len(trees) - 1] * (self.group - len(trees))
        slots = sent([chosen[place] for place in places], self.decoder.device)
        chosen_trees = [trees[place] for place in places]
        lengths = [self.root_length + len(tree.trunk) for tree in chosen_trees]
        begins = [n if t.given is None else t.given.begin for n, t in zip(lengths, chosen_trees, strict=True)]
        self.tables.trunk[slots] = sent(lengths, slots.device)
        self.tables.begin_at[slots] = sent(begins, slots.device)
        if max(lengths) > self.root_length:
            self._grow_trunks(chosen_trees, slots)
            return
        for layer, (key, value) in enumerate(self.root or ()):
            self.tables.keys[layer][slots, :, : self.root_length] = key
            self.tables.values[layer][slots, :, : self.root_length] = value

    def _grow_trunks(self, trees: list[Tree], slots: Tensor) -> None:
        """Embeddings, padded at their ends, into the slots [n]."""
        trunks = pad_sequence([tree.trunk for tree in trees], True)
        turns, added = turns_of(trees, self.rotations, self.root_length), added_to(trees, trunks)
        attention: KernelTrunkAttention | TrunkAttention
        if self.way == "kernel":
            attention = KernelTrunkAttention(self.tables, turns, len(trees), self.decoder.scaling, slots, self.root)
        else:
            attention = TrunkAttention(self.tables, turns, len(trees), self.decoder.scaling, slots, self.root, [])
        self.decoder.run(trunks.flatten(0, 1), attention, keys_only_last=True, added=added)

    def _grow_root(self, root: Tensor) -> list[KeysValues] | None:
        if not len(root):
            return None
        turns = self.rotations.at(torch.arange(len(root), device=root.device))
        attention = TrunkAttention(self.tables, turns, 1, self.decoder.scaling, None, None, [])
        self.decoder.run(root, attention, keys_only_last=True)
        return attention.made

    def _begin_waiting(self) -> None:
        """Let branches begin in rows that are free."""
        begun: list[tuple[Slot, int, int]] = []  # slot, its number, row
        for number, slot in self._used():
            for row, branch in enumerate(slot.rows):
                if branch is None and slot.waiting:
                    slot.rows[row] = slot.waiting.pop(0)
                    slot.begun[row] = self.steps
                    begun.append((slot, number, row))
        if begun:
            self._begin(begun)

    def _begin(self, begun: list[tuple[Slot, int, int]]) -> None:
        """Compute what the branches have for themselves, all but their last id, which the next step reads."""
        device = self.decoder.device
        branches = [slot.rows[row] or 0 for slot, _, row in begun]
        starts = [slot.tree.starts[branch] for (slot, _, _), branch in zip(begun, branches, strict=True)]
        names = [slot.tree.names[branch] for (slot, _, _), branch in zip(begun, branches, strict=True)]
        slots = sent([number for _, number, _ in begun], device)
        rows = sent([row for _, _, row in begun], device)
        self.search.start(slots, rows, names)
        lengths = [max(0, len(start) - 1) for start in starts]
        if max(lengths):
            self._grow_starts([start[:-1] for start in starts], slots, rows)
        last = self.decoder.embed(sent([(*start, 0)[len(start) - 1] for start in starts], device))
        for place, ((slot, _, row), length) in enumerate(zip(begun, lengths, strict=True)):
            slot.at[row] = length
            if slot.tree.tip is not None:
                last[place] = slot.tree.tip
        at = sent(lengths, device)
        if self.beams:  # the beams of a slot begin alike
            every = torch.arange(self.shape.branches, device=device)
            slots, rows = slots.repeat_interleave(len(every)), every.repeat(len(slots))
            last, at = last.repeat_interleave(len(every), 0), at.repeat_interleave(len(every))
        self.tables.begin(slots, rows, at, last)

    def _grow_starts(self, starts: list[tuple[int, ...]], slots: Tensor, rows: Tensor) -> None:
        device = self.decoder.device
        ids = pad_sequence([torch.tensor(start, dtype=torch.long) for start in starts], True)
        steps = torch.arange(ids.shape[1], device=device)
        turns = self.rotations.at((self.tables.begin_at[slots][:, None] + steps).flatten())
        attention = StartAttention(self.tables, turns, slots, rows, self.decoder.scaling)
        embeds = self.decoder.embed(ids.to(device, non_blocking=True)).to(self.tables.inputs.dtype)
        self.decoder.run(embeds.flatten(0, 1), attention, keys_only_last=True)

    def _used(self) -> list[tuple[int, Slot]]:
        return [(number, slot) for number, slot in enumerate(self.slots) if slot is not None]

    # One token more

    def _step(self) -> None:
        """Every row reads one token and writes one."""
        used = self._used()
        if self.whole_step is not None:
            self.whole_step()
        else:
            depth = min(self.shape.depth, 1 + max(max(slot.at) for _, slot in used))
            self._compute(len(used), depth)
        for _, slot in used:
            slot.at = [at + (branch is not None) for at, branch in zip(slot.at, slot.rows, strict=True)]
        self.flags.add(self.steps, self.search.over)
        self.steps += 1

    def _compute(self, live: int, depth: int) -> None:
        """A step of the first `live` slots, of whose pools the first `depth` tokens of each branch are looked at."""
        tables, scaling = self.tables, self.decoder.scaling
        place, positions = tables.enter(live)
        hidden = tables.inputs[:live].flatten(0, 1)
        attention: KernelAttention | StepAttention
        if self.way == "kernel":
            attention = KernelAttention(tables, self.rotations, scaling)
        else:
            sees = hidden.new_zeros(()).where(tables.view(live, depth), float("-inf"))
            attention = StepAttention(tables, self.rotations.at(positions.flatten()), place, sees, scaling)
        logits = self.decoder.logits(self.decoder.run(hidden, attention))
        ids, parents = self.search.choose(logits, live)
        tables.leave(live, self.decoder.embed(ids), parents, self.search.over)

    def _harvest(self) -> list[Answer]:
        """Answers that have arrived; slots with nothing left to grow are given away."""
        known = self.flags.take()
        answers = self._arrived()
        if known is not None:
            self._end(*known)
        return answers if self.flags.lag else answers + self._arrived()

    def _end(self, step: int, over: list[list[bool]]) -> None:
        """Send back what ended with a step, and give slots away."""
        ended = [
            (number, row, slot)
            for number, slot in self._used()
            for row, branch in enumerate(slot.rows)
            if branch is not None and over[number][row] and slot.begun[row] <= step
        ]
        if ended:
            whose = [(slot.tree.number, slot.rows[row] or 0) for _, row, slot in ended]
            self.leaving.append((whose, Returned.of(self.search.ended([(number, row) for number, row, _ in ended]))))
        for _, row, slot in ended:
            slot.rows[row] = None
        for number, slot in reversed(self._used()):
            if not slot.waiting and all(branch is None for branch in slot.rows):
                self._release(number)

    def _arrived(self) -> list[Answer]:
        """What was sent back so far; on a GPU the step before, so that this one need not end first."""
        answers = []
        while self.leaving:
            whose, returned = self.leaving.popleft()
            for (tree, branch), ids, count in zip(whose, *returned.lists(), strict=True):
                answers.append(Answer(tree, branch, ids[:count]))
        return answers

    def _release(self, number: int) -> None:
        """Give a slot away; on the CPU the last one in use takes its place, so that those in use come first.

        On a GPU steps go on for it, but read nothing of what it held.
        """
        self.slots[number] = None
        if self.on_gpu:
            self.tables.forget(number)
            return
        last = max((used for used, _ in self._used()), default=-1)
        slot = self.slots[last]
        if last > number and slot is not None:
            filled = self.shape.trunk + self.shape.branches * min(self.shape.depth, 1 + max(slot.at))
            self.tables.move(last, number, filled, self.search.tensors())
            self.slots[number], self.slots[last] = slot, None
