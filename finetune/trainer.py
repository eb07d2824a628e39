"""The training loop: transformers' Trainer with the loss of spans, weights by step, and checkpoints without pickle.

Resume, accumulation, clipping, distribution (through accelerate), logging and callbacks are the library's.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader
from transformers import ProgressCallback, Trainer, TrainingArguments

from common.errors import UserError
from finetune.batches import AsMapping, Collator, SpanBatch
from finetune.data import CaptionItem
from finetune.forward import SpanLosses
from finetune.log_lines import LogLines
from finetune.loss import PartLosses
from finetune.presets import KINDS, LossWeights
from finetune.run_folder import RunFolder
from finetune.sampling import BatchOrder
from finetune.train_state import load_generators, load_state, save_state


class DivergedError(UserError):
    """The loss is not finite; the state before the step has been saved."""


class SpanTrainer(Trainer):
    """A Trainer over items with spans.

    Args:
        module: the model with its span losses.
        settings: of the library; one "epoch" is the whole run (see :class:`finetune.sampling.BatchOrder`).
        order: of the batches.
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
        order: BatchOrder,
        collator: Collator,
        valid: Sequence[CaptionItem],
        weights: LossWeights,
        folder: RunFolder,
        names: Sequence[str],
    ) -> None:
        self.order, self.weights, self.folder, self.names = order, weights, folder, list(names)
        self.valid = list(valid)
        self.module = module
        self.seen = torch.zeros(2, len(KINDS))  # since the last log: sum of mean token losses, number of spans
        super().__init__(
            model=module,
            args=settings,
            data_collator=collator,
            train_dataset=order.data.items,
            eval_dataset=self.valid,
        )
        self.remove_callback(ProgressCallback)
        self.add_callback(LogLines)

    # Batches

    def get_train_dataloader(self) -> DataLoader[Any]:
        """Batches of the whole run, in their order."""
        return self._loader(self.order.data.items, batch_sampler=self.order)

    def get_eval_dataloader(self, eval_dataset: Any = None) -> DataLoader[Any]:  # noqa: ARG002
        """Validation items, in order."""
        return self._loader(self.valid, batch_size=max(8, self.order.batch_size), shuffle=False)

    def _loader(self, items: Any, **how: Any) -> DataLoader[Any]:
        loader: DataLoader[Any] = DataLoader(
            items,
            collate_fn=AsMapping(self.data_collator),
            num_workers=self.args.dataloader_num_workers,
            pin_memory=self.args.dataloader_pin_memory and torch.cuda.is_available(),
            **how,
        )
        prepared: DataLoader[Any] = self.accelerator.prepare(loader)
        return prepared

    # Loss

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,  # noqa: ARG002
    ) -> Any:
        """The weighted loss of one batch. Raises DivergedError, with the batch's items, if it is not finite."""
        batch: SpanBatch = inputs["batch"]
        parts: PartLosses = model(batch)
        loss = parts.total(self.weights.at(self.state.global_step, self.state.max_steps))
        if not torch.isfinite(loss):
            self._stop(batch, loss)
        self.seen = self.seen.to(loss.device) + parts.table(KINDS)
        return (loss, parts) if return_outputs else loss

    def _stop(self, batch: SpanBatch, loss: Tensor) -> None:
        step = self.state.global_step
        self._save_checkpoint(self.model, None)
        raise DivergedError(
            f"the loss is {loss.item()} at step {step + 1} (images {', '.join(batch.keys)}); the state before it is "
            f"in {self.folder.checkpoint(step).name}; lower --train_lr or --neg_w_start, or take a bounded --objective"
        )

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """One call a logging step: the library's values, and the mean loss and the weight of each part."""
        if "loss" in logs:
            means = self._means(self.seen)
            now = self.weights.at(max(0, self.state.global_step - 1), self.state.max_steps)
            logs.update({f"loss_{kind}": mean for kind, mean in means.items()})
            logs.update({f"weight_{kind}": now[kind] for kind in means})
            self.seen = torch.zeros(2, len(KINDS))
        super().log(logs, start_time)

    def _means(self, table: Tensor) -> dict[str, float]:
        """Mean token loss of each kind that was met, over all processes, from sums and counts [2, kinds]."""
        sums, counts = self.accelerator.reduce(table.to(self.args.device), reduction="sum").tolist()
        return {kind: s / n for kind, s, n in zip(KINDS, sums, counts, strict=True) if n}

    def evaluate(self, *_: Any, metric_key_prefix: str = "eval", **__: Any) -> dict[str, float]:
        """Mean token loss of each kind over the validation items, logged; empty without any."""
        if not self.valid:
            return {}
        metrics = {f"{metric_key_prefix}_{k}": v for k, v in self._validation_losses().items()}
        self.log(metrics)
        self.control: Any = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    @torch.no_grad()
    def _validation_losses(self) -> dict[str, float]:
        table = torch.zeros(2, len(KINDS), device=self.args.device)
        self.model.eval()
        for inputs in self.get_eval_dataloader():
            table += self.module(inputs["batch"]).table(KINDS)
        return self._means(table)

    # Checkpoints

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:  # noqa: ARG002
        """Only what is trained."""
        self.module.caption_model.save_trained(Path(output_dir or self.folder.path), self.names)

    def _save_checkpoint(self, model: torch.nn.Module, trial: Any) -> None:
        if self.is_deepspeed_enabled or self.is_fsdp_enabled:
            super()._save_checkpoint(model, trial)
        elif self.args.should_save:
            self.folder.add_checkpoint(self.state.global_step, self._write_checkpoint)

    def _write_checkpoint(self, folder: Path) -> None:
        self.module.caption_model.save_trained(folder, self.names)
        save_state(folder, self.optimizer, self.lr_scheduler)
        self.state.save_to_json(str(folder / "trainer_state.json"))

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        if self.is_deepspeed_enabled or self.is_fsdp_enabled:
            super()._load_from_checkpoint(resume_from_checkpoint, model)
        else:
            self.module.caption_model.load_trained(Path(resume_from_checkpoint))

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if self.is_deepspeed_enabled or self.is_fsdp_enabled or checkpoint is None:
            super()._load_optimizer_and_scheduler(checkpoint)
        else:
            load_state(Path(checkpoint), self.optimizer, self.lr_scheduler)

    def _load_rng_state(self, checkpoint: str | None) -> None:
        if checkpoint is not None:
            load_generators(Path(checkpoint))

    def run(self) -> None:
        """Train from the last checkpoint, or from the beginning, to the end, and leave the result in the folder."""
        last = self.folder.pointer()
        self.train(resume_from_checkpoint=str(self.folder.checkpoint(last.step)) if last else None)
        self.accelerator.wait_for_everyone()
        if self.args.should_save:
            self._save(str(self.folder.path))
            self.folder.point_to(self.state.global_step, finished=True)
