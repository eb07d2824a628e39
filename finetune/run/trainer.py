"""The training loop: transformers' Trainer with the loss of spans, weights by step, and checkpoints without pickle.

Resume, accumulation, clipping, distribution (through accelerate), logging and callbacks are the library's. Nothing in a
step makes the host wait for a GPU; it does so where a line is logged.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from operator import add
from pathlib import Path
from typing import Any

import torch
from accelerate import DistributedType
from torch import Tensor
from torch.utils.data import DataLoader
from transformers import ProgressCallback, Trainer, TrainerState, TrainingArguments

from common.errors import UserError
from common.files.storage import naming
from common.models.lanes import in_order, lanes_of
from common.processes import leave_signals_to_parent, lost_loader_worker
from common.progress import announce, batches
from finetune.corpus.records import KINDS, NEG, POS, CaptionItem
from finetune.objectives.loss import PartLosses
from finetune.objectives.presets import LossWeights
from finetune.run.finite_guard import FiniteGuard, Step
from finetune.run.folder import RunFolder
from finetune.run.logs import LogLines, WaitClock
from finetune.run.packed_step import PackedStep, StepResult, result_of
from finetune.run.probing import ProbePlan, Probes, Probing
from finetune.run.recall import require_best, require_logged
from finetune.run.state import forget, load_generators, load_state, save_state
from finetune.steps.batch import Pack, StepBatch
from finetune.steps.collate import AsMapping, Collator
from finetune.steps.sampling import Steps
from finetune.steps.span_losses import SpanLosses

VALIDATED = 16  # validation items that packs are made of


class DivergedError(UserError):
    """The loss is not finite; the state before the step has been saved."""


class SpanTrainer(Trainer):
    """A Trainer over items with spans.

    Args:
        module: the model with its span losses.
        settings: of the library; one "epoch" is the whole run (see :class:`finetune.steps.sampling.Steps`).
        steps: the batches of the run.
        collator: items -> batch.
        valid: validation items, possibly none.
        weights: of the parts of the loss.
        folder: of the run.
        names: of the trained parameters, as the caption model names them.
    """

    def __init__(
        self,
        module: SpanLosses,
        settings: TrainingArguments,
        steps: Steps,
        collator: Collator,
        valid: Sequence[CaptionItem],
        weights: LossWeights,
        folder: RunFolder,
        names: Sequence[str],
    ) -> None:
        self.steps, self.weights, self.folder, self.names = steps, weights, folder, list(names)
        self.valid = list(valid)
        self.module = module
        self.collator = collator
        self.seen: list[StepResult] = []  # since the last log
        self.clock = WaitClock()
        self.keys: list[str] = []  # of the items of the step that is being made
        super().__init__(
            model=module, args=settings, data_collator=collator, train_dataset=steps, eval_dataset=self.valid
        )
        self.packed = PackedStep(module, collator, self.accelerator.backward, self._lanes())
        self.guard = FiniteGuard(self.args.device, 0 if self.args.device.type == "cpu" else 1)  # a CPU queues nothing
        self.remove_callback(ProgressCallback)
        self.add_callback(LogLines)
        self.probing: Probing | None = None

    def probe_with(
        self, plan: ProbePlan, prober: Probes, held_out: Sequence[CaptionItem], trained: Sequence[CaptionItem]
    ) -> None:
        """Make probes during the run; the items have positive spans, of validation and of training images."""
        model = self.module.caption_model
        self.probing = Probing(
            plan,
            prober,
            lambda: (self._losses_of(held_out).get(POS), self._losses_of(trained).get(POS)),
            self.folder,
            log=self.log,
            save=lambda folder: model.save_trained(folder, self.names),
            restore=model.load_trained,
            settle=lambda: self._stop_if(self.guard.failed()),
            forget=lambda: forget(self.optimizer),
        )
        self.add_callback(self.probing)

    def _lanes(self) -> int:
        """Packs side by side: on the CPU, where nothing but the loss's own gradient is to be made of it."""
        plain = self.accelerator.distributed_type is DistributedType.NO and self.accelerator.scaler is None
        if self.args.device.type != "cpu" or not plain or self.accelerator.gradient_accumulation_steps != 1:
            return 1
        return lanes_of(self.module)

    # Batches

    def get_train_dataloader(self) -> DataLoader[Any]:
        """Batches of the whole run, in their order; each process takes its share of them."""
        workers = self.args.dataloader_num_workers
        loader: DataLoader[Any] = DataLoader(
            self.steps,  # type: ignore[arg-type]
            collate_fn=AsMapping(self.collator),
            num_workers=workers,
            multiprocessing_context="fork" if workers else None,  # the model is inherited, not copied
            worker_init_fn=leave_signals_to_parent,
            pin_memory=self.args.dataloader_pin_memory and torch.cuda.is_available(),
        )
        prepared: DataLoader[Any] = self.accelerator.prepare(loader)
        return prepared

    def get_batch_samples(self, *args: Any, **kwargs: Any) -> Any:
        """The library's, with the time that it takes."""
        with self.clock.waiting():
            return super().get_batch_samples(*args, **kwargs)

    # Loss

    def training_step(
        self,
        model: torch.nn.Module,
        inputs: dict[str, Any],
        num_items_in_batch: Tensor | int | None = None,  # noqa: ARG002
    ) -> Tensor:
        """Gradient of one batch, pack by pack. Returns the sum of the packs' losses.

        Raises DivergedError if a loss is known not to be finite, OutOfMemoryError if halved packs do not fit either.
        """
        batch: StepBatch = inputs["batch"]
        model.train()
        self.keys += [item.key for item in batch.items]
        with self.accelerator.no_sync(model):
            result = self.packed.add(batch, lambda pack: self._pack_loss(model, pack))
        self.guard.note(result.loss)
        self.seen.append(result)
        if self.accelerator.sync_gradients:
            self._end_step()
        return result.loss

    def _pack_loss(self, model: torch.nn.Module, pack: Pack) -> tuple[Tensor, PartLosses]:
        loss, parts = self.compute_loss(model, {"batch": pack}, return_outputs=True)
        return loss / self.current_gradient_accumulation_steps, parts

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,  # noqa: ARG002
    ) -> Any:
        """The weighted loss of one pack."""
        parts: PartLosses = model(inputs["batch"])
        loss = parts.total(self._weights_at(self.state.global_step))
        return (loss, parts) if return_outputs else loss

    def _weights_at(self, step: int) -> dict[str, float]:
        """Of each kind at a step of the schedules, after the probes until then."""
        weights = self.weights.at(self._place(step), self.state.max_steps)
        return weights if self.probing is None else {**weights, NEG: weights[NEG] * self.probing.of_negatives(step)}

    def _place(self, step: int) -> float:
        """Where the schedules are at a step, after the probes until then."""
        return step if self.probing is None else self.probing.place(step, self.state.max_steps)

    def _rates(self, step: int) -> list[float]:
        """The learning rate of each group of parameters at a step, after the probes until then."""
        place, less = self._place(step), 1.0 if self.probing is None else self.probing.of_rate(step)
        shapes = zip(self.lr_scheduler.base_lrs, self.lr_scheduler.lr_lambdas, strict=True)
        return [less * (base * shape(place)) for base, shape in shapes]

    def _set_rates(self, rates: Sequence[float]) -> None:
        for group, rate in zip(self.optimizer.param_groups, rates, strict=True):
            group["lr"] = rate

    def _end_step(self) -> None:
        """Before the update: average over the processes, and see to it that no bad gradient is applied."""
        self.packed.average(self.args.world_size)
        keys, self.keys = tuple(self.keys), []
        now = self.state.global_step
        self._set_rates(self._rates(now))
        self._stop_if(self.guard.protect(self.optimizer, now, self.state.epoch or 0.0, keys, self.lr_scheduler))

    def _stop_if(self, failed: Step | None) -> None:
        """Save the state before a step whose loss was not finite, and raise DivergedError."""
        if failed is None:
            return
        self.state.global_step, self.state.epoch = failed.number, failed.epoch
        self.lr_scheduler.load_state_dict(failed.schedule)
        self._set_rates(self.lr_scheduler.get_last_lr())
        self._save_checkpoint(self.model, None)
        raise DivergedError(
            f"the loss is not finite at step {failed.number + 1} (images {', '.join(failed.keys)}); the state before "
            f"it is in {self.folder.checkpoint(failed.number).name}; lower --train_lr or --neg_w_start, or take "
            "a bounded --objective"
        )

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """One call a logging step: the library's values, and the mean loss and the weight of each part."""
        if "loss" in logs:
            self._stop_if(self.guard.failed())
            means = self._means(self.seen)
            self.seen.clear()
            step = max(0, self.state.global_step - 1)
            now = self._weights_at(step)
            if "learning_rate" in logs:
                logs["learning_rate"] = self._rates(step)[0]
            logs.update({f"loss_{kind}": mean for kind, mean in means.items()})
            logs.update({f"weight_{kind}": now[kind] for kind in means})
            logs["waiting"] = self.clock.share_since_last()
        super().log(logs, start_time)

    def _means(self, results: Sequence[StepResult]) -> dict[str, float]:
        """Mean token loss of each kind that was met, over all processes."""
        table = torch.zeros(2, len(KINDS), dtype=torch.float64, device=self.args.device)
        if results:
            table += reduce(add, results).table(self.args.device)
        sums, counts = self.accelerator.reduce(table, reduction="sum").tolist()
        return {kind: s / n for kind, s, n in zip(KINDS, sums, counts, strict=True) if n}

    def evaluate(self, *_: Any, metric_key_prefix: str = "eval", **__: Any) -> dict[str, float]:
        """Mean token loss of each kind over the validation items, logged; empty without any."""
        if not self.valid:
            return {}
        self._stop_if(self.guard.failed())
        metrics = {f"{metric_key_prefix}_{k}": v for k, v in self._losses_of(self.valid).items()}
        self.log(metrics)
        self.control: Any = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def _losses_of(self, every: Sequence[CaptionItem]) -> dict[str, float]:
        self.model.eval()
        results: list[StepResult] = []
        ours = batches(list(every), VALIDATED)[self.args.process_index :: self.args.world_size]
        for items in ours:
            results += in_order(self._validated, self.collator(items).packs, lanes_of(self.module))
        return self._means(results)

    @torch.no_grad()
    def _validated(self, pack: Pack) -> StepResult:
        parts: PartLosses = self.module(pack)
        return result_of(parts.total(dict.fromkeys(KINDS, 1.0)), parts)

    # Checkpoints

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:  # noqa: ARG002
        """Only what is trained."""
        self.module.caption_model.save_trained(Path(output_dir or self.folder.path), self.names)

    def _save_checkpoint(self, model: torch.nn.Module, trial: Any) -> None:  # noqa: ARG002
        self._stop_if(self.guard.failed())
        if self.args.should_save:
            self.folder.add_checkpoint(self.state.global_step, self._write_checkpoint)

    def _write_checkpoint(self, folder: Path) -> None:
        self.module.caption_model.save_trained(folder, self.names)
        save_state(folder, self.optimizer, self.lr_scheduler)
        self.state.save_to_json(str(folder / "trainer_state.json"))

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:  # noqa: ARG002
        self.module.caption_model.load_trained(Path(resume_from_checkpoint))

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if checkpoint is not None:
            load_state(Path(checkpoint), self.optimizer, self.lr_scheduler)

    def _load_rng_state(self, checkpoint: str | None) -> None:
        if checkpoint is not None:
            load_generators(Path(checkpoint))

    def run(self) -> None:
        """Train from the last checkpoint, or from the beginning, to the end, and leave the result in the folder."""
        self.accelerator.wait_for_everyone()  # the first process may still be clearing what an earlier run left
        last = self.folder.pointer()
        if self.probing is not None:
            self.probing.recall()
        if last is not None:
            announce(f"continuing at step {last.step} of {self.args.max_steps}")
            self._check_probes(last.step)
        if last is not None and self.probing is not None and self.probing.ended_at(last.step):
            self.state = self._state_at(last.step)
            self.probing.put_best_back(last.step)
        else:
            way_on = "free memory, or lower --num_workers; the same command goes on"
            with lost_loader_worker("opens images", way_on), naming(self.folder.path):
                self.train(resume_from_checkpoint=str(self.folder.checkpoint(last.step)) if last else None)
        self._stop_if(self.guard.failed())
        self.accelerator.wait_for_everyone()
        if self.args.should_save:
            if self.probing is not None:
                self.probing.finish(self.state.global_step, self.args.max_steps)
            self._save(str(self.folder.path))
            self.folder.point_to(self.state.global_step, finished=True)

    def _state_at(self, step: int) -> TrainerState:
        return TrainerState.load_from_json(str(self.folder.checkpoint(step) / "trainer_state.json"))

    def _check_probes(self, step: int) -> None:
        """Raise DataError, CheckpointError where the probes until the last checkpoint, or the best weights, differ."""
        if self.probing is None:
            return
        known = self.probing.known
        require_logged(known, self._state_at(step).log_history, step, self.folder.probes)
        reached = self.probing.reached(max(known, default=0))
        if reached is not None:
            require_best(self.folder.held_best(reached.best.step), self.names)

    def notes(self) -> dict[str, Any]:
        """Of a run that has ended, for the manifest."""
        return {
            "steps": self.state.global_step,
            **({"probe": self.probing.notes(self.state.global_step, self.args.max_steps)} if self.probing else {}),
            "waiting_for_data": self.clock.share(),
            "steps_done_again_for_memory": self.packed.retries,
            "log": self.state.log_history,
        }
