"""What goes wrong while `finetune/train.py` trains, and before: said in a line, or mended."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from common.errors import ArgumentError, CheckpointError, DataError, UserError
from common.files.storage import read_json
from finetune.train import main
from tests.training_world import World, log, weights


def test_a_loss_that_is_not_finite_stops_the_run_with_its_items(world: World, tmp_path: Path) -> None:
    """And with the state before it; the weights in it are finite."""
    with pytest.raises(UserError, match=r"at step \d+ \(images .*png/0"):
        main(world.train_flags(tmp_path / "run", train_lr=1e30, max_grad_norm=0))
    assert not (tmp_path / "run" / "trained.safetensors").exists()
    assert read_json(tmp_path / "run" / "last.json")["finished"] is False


def test_a_caption_longer_than_a_pack_is_named_skipped_and_counted(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The others are trained on."""
    main(world.train_flags(tmp_path / "run", tokens_per_batch=115, max_steps=1))
    shown = capsys.readouterr().err
    notes = read_json(tmp_path / "run" / "trained.safetensors.manifest.json")
    skipped = notes["input_counts"]["longer_than_a_pack"]
    assert 0 < skipped < 10 and f"{skipped} captions alone exceed --tokens_per_batch 115" in shown


def test_a_caption_longer_than_the_models_positions_is_named_skipped_and_counted(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whether or not packs are bounded; refused with --strict, or where nothing would be left to learn from."""
    short = Path(shutil.copytree(world.model, tmp_path / "llava"))
    config = read_json(short / "config.json")

    def train(positions: int, **more: object) -> None:
        (short / "config.json").write_text(json.dumps({**config, "max_position_embeddings": positions}))
        main(world.train_flags(tmp_path / f"run{positions}{len(more)}", llava_path=short, max_steps=1, **more))

    train(115)
    shown = capsys.readouterr().err
    counts = read_json(tmp_path / "run1150" / "trained.safetensors.manifest.json")["input_counts"]
    skipped = counts["longer_than_the_positions"]
    assert 0 < skipped < 10 and counts["longer_than_a_pack"] == 0
    assert f"training: 8 images, {counts['training_captions']} captions, {counts['training_samples']} samples" in shown
    assert counts["training_samples"] == 3 * counts["training_captions"]  # a positive, a negative and a sentence each
    assert f"{skipped} captions with image and prompt exceed the model's 115 positions" in shown
    with pytest.raises(DataError, match=r"exceed the model's 115 positions .*, of 0.*png.* takes \d+ tokens.*--strict"):
        train(115, strict=True)
    with pytest.raises(DataError, match=r"exceed the model's 9 positions .*: none is left"):
        train(9)


def test_an_encoder_that_disagrees_with_its_config_is_found_before_training(world: World, tmp_path: Path) -> None:
    """The checkpoint says how many tokens an image takes."""
    wrong = tmp_path / "llava"
    shutil.copytree(world.model, wrong)
    config = read_json(wrong / "config.json")
    (wrong / "config.json").write_text(json.dumps({**config, "image_seq_length": 577}), encoding="utf-8")
    with pytest.raises(CheckpointError, match="image_seq_length 577, but its encoder gives 4 tokens"):
        main(world.train_flags(tmp_path / "run", llava_path=wrong))


def test_a_gpu_that_is_full_once_makes_the_step_again_in_smaller_packs(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In the second batch of an accumulated step, in the middle of a backward pass; the result is the same."""
    from finetune.steps.span_losses import SpanLosses

    flags = {"gradient_accumulation_steps": 2, "train_bs": 2, "max_steps": 3}
    main(world.train_flags(tmp_path / "plain", **flags))
    forward, calls = SpanLosses.forward, []

    def full_once(self: SpanLosses, pack: Any) -> Any:
        parts = forward(self, pack)
        if self.training or torch.is_grad_enabled():
            calls.append(pack.tokens)
            if len(calls) == 2:
                for parameter in self.parameters():
                    if parameter.requires_grad:
                        parameter.grad = torch.ones_like(parameter)  # part of a gradient that was being summed
                raise torch.cuda.OutOfMemoryError("full")
        return parts

    monkeypatch.setattr(SpanLosses, "forward", full_once)
    main(world.train_flags(tmp_path / "full", **flags))
    assert "out of GPU memory" in capsys.readouterr().err
    assert max(calls[2:4]) < calls[1]
    assert read_json(tmp_path / "full" / "trained.safetensors.manifest.json")["steps_done_again_for_memory"] == 1
    plain, full = ([e for e in log(tmp_path / name) if "loss" in e] for name in ("plain", "full"))
    for name in ("loss", "grad_norm", "loss_pos", "loss_neg", "loss_sent"):
        assert [e[name] for e in full] == pytest.approx([e[name] for e in plain], rel=1e-5)


def test_a_gpu_that_stays_full_stops_the_run(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a word on what to lower."""
    from finetune.steps.span_losses import SpanLosses

    def full(*_: Any) -> Any:
        raise torch.cuda.OutOfMemoryError("full")

    monkeypatch.setattr(SpanLosses, "forward", full)
    with pytest.raises(UserError, match=r"also with packs of .* lower --tokens_per_batch"):
        main(world.train_flags(tmp_path / "run"))
    assert not (tmp_path / "run" / "trained.safetensors").exists()


@pytest.mark.parametrize("delay", [0, 1])
def test_a_loss_that_is_not_finite_is_never_applied(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, delay: int
) -> None:
    """Also where the flag of a step is read only when the next has been queued: the state is that before the step."""
    from finetune.run.finite_guard import FiniteGuard
    from finetune.run.trainer import SpanTrainer

    made, compute = FiniteGuard.__init__, SpanTrainer.compute_loss

    def delayed(self: FiniteGuard, device: torch.device, _delay: int) -> None:
        made(self, device, delay)

    def broken(self: SpanTrainer, *args: Any, **kwargs: Any) -> Any:
        loss, parts = compute(self, *args, **kwargs)
        return (loss * float("nan") if self.state.global_step == 3 else loss), parts

    monkeypatch.setattr(FiniteGuard, "__init__", delayed)
    flags = world.train_flags(tmp_path / "run", logging_steps=100, eval_steps=100, lr_scheduler_type="linear")
    with monkeypatch.context() as patch, pytest.raises(UserError, match=r"not finite at step 4 \(images .*png/0"):
        patch.setattr(SpanTrainer, "compute_loss", broken)
        main(flags)
    assert read_json(tmp_path / "run" / "last.json") == {
        "step": 3,
        "finished": False,
        "checkpoint": "checkpoint-000003",
    }
    main(flags)
    main(world.train_flags(tmp_path / "whole", logging_steps=100, eval_steps=100, lr_scheduler_type="linear"))
    assert weights(tmp_path / "run") == weights(tmp_path / "whole")


def test_t16_running_out_of_memory_is_not_passed_over(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The published loop skipped any batch whose error text held these words, and went on."""
    from finetune.steps.span_losses import SpanLosses

    def full(*_: Any) -> Any:
        raise RuntimeError("CUDA out of memory")

    monkeypatch.setattr(SpanLosses, "forward", full)
    with pytest.raises(RuntimeError, match="out of memory"):
        main(world.train_flags(tmp_path / "run"))
    assert not (tmp_path / "run" / "trained.safetensors").exists()


@pytest.mark.parametrize(
    ("more", "kind", "words"),
    [
        ({"preset": "papier"}, ArgumentError, "--preset is 'papier'.* paper"),
        ({"repair_w": -1}, ArgumentError, "--repair_w is '-1'"),
        ({"pos_w_start": 0, "neg_w_start": 0, "sent_w": 0}, ArgumentError, "all mined parts of the loss are 0"),
        ({"objective": "npoo"}, ArgumentError, "did you mean npo"),
        ({"trainable": "conector"}, ArgumentError, "did you mean connector"),
        ({"pos_neg_data_path": "none.json"}, DataError, r"--pos_neg_data_path none\.json is not there"),
        ({"image_dir_path": "nowhere"}, DataError, "--image_dir_path nowhere is not there"),
        ({"hal_clip_thres": 40}, ArgumentError, "wrong order"),
        ({"hal_clip_thres": 10}, DataError, "negative set is empty"),
        ({"llava_ckpt_load_path": "nowhere"}, CheckpointError, "nowhere"),
        ({"lr_scheduler_type": "cosin"}, ArgumentError, "did you mean cosine"),
        ({"train_bs": 0}, ArgumentError, "--train_bs is 0"),
        ({"end_pos": 5}, ArgumentError, "--max_steps"),
        ({"tokens_per_batch": -1}, ArgumentError, "--tokens_per_batch is '-1'"),
        ({"tokens_per_batch": 20}, DataError, r"10 captions alone exceed --tokens_per_batch 20 .*png.* none is left"),
        (
            {"tokens_per_batch": 112, "strict": True},
            DataError,
            r"exceed --tokens_per_batch 112 .* or leave out --strict",
        ),
        (
            {"trainable": "all", "cache_image_features": "here"},
            ArgumentError,
            "--cache_image_features here: the vision",
        ),
    ],
)
def test_bad_input_is_one_line(
    world: World, tmp_path: Path, more: dict[str, Any], kind: type[UserError], words: str
) -> None:
    """Names the value, where it came from and what to do; leaves no result."""
    with pytest.raises(kind, match=words) as error:
        main(world.train_flags(tmp_path / "run", **more))
    assert "\n" not in str(error.value)
    assert not (tmp_path / "run" / "trained.safetensors").exists()
