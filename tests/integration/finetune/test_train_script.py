"""`finetune/train.py` on a tiny random LLaVA: results, and the defects that it must not have."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from huggingface_hub import ModelCard
from safetensors.torch import load_file

from common.errors import ArgumentError
from common.files.storage import read_json
from common.manifest import model_hash
from common.models import load_model
from common.paths import MINI_LLAVA, ROOT
from deploy.card import main as write_card_of
from finetune.objectives.presets import MINI_STEPS
from finetune.run import gallery
from finetune.train import main
from tests.training_world import World, log, make_world, note_scorer, weights


def test_result_holds_the_connector_alone_and_loads(undisturbed: Path, world: World) -> None:
    """T1: a given checkpoint is really laid over the model."""
    tensors = load_file(str(undisturbed / "trained.safetensors"))
    assert all(name.startswith("connector.") for name in tensors) and len(tensors) == 4
    settings = {"vit_path": world.model / "tower"}
    base = load_model("llava", world.model, **settings)
    trained = load_model("llava", world.model, ckpt=undisturbed, **settings)
    for name, tensor in tensors.items():
        assert torch.equal(trained.get_parameter(name), tensor)
        assert not torch.equal(base.get_parameter(name), tensor)


def test_a_card_lies_beside_the_result_and_takes_its_scores(
    undisturbed: Path, world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    card = ModelCard.load(undisturbed / "README.md")
    assert card.data.library_name == "efuf" and card.data.eval_results is None
    for said in ("| steps | 30 of 2 images, learning rate 0.001", 'path="llava", ckpt=place', "| objective | efuf |"):
        assert said in card.text
    scores = {
        "task": "chair",
        "definition": "d",
        "version": "v",
        "n": 3,
        "scores": {"chair_s": 0.25},
        "manifest": {"model_hash": model_hash(world.model), "checkpoint_hash": model_hash(undisturbed)},
    }
    (tmp_path / "now.json").write_text(json.dumps(scores))
    flags = ["--ckpt_load_path", str(undisturbed), "--result_paths", str(tmp_path / "now.json")]
    write_card_of(flags)
    assert capsys.readouterr().out.strip().endswith("README.md")
    (entry,) = ModelCard.load(undisturbed / "README.md").data.eval_results or []
    assert (entry.metric_type, entry.metric_value) == ("chair_s", 0.25)


def test_losses_go_where_they_are_sent(undisturbed: Path) -> None:
    """Positives and sentences become likelier, negatives less likely than the positives became."""
    entries = [e for e in log(undisturbed) if "loss_pos" in e]
    first, last = entries[:5], entries[-5:]

    def change(kind: str) -> float:
        return sum(e[kind] for e in last) / 5 - sum(e[kind] for e in first) / 5

    assert change("loss_pos") < -0.5 and change("loss_sent") < 0
    assert change("loss_neg") > change("loss_pos") + 0.2


def test_t3_masters_are_float32_over_a_bfloat16_model(world: World, tmp_path: Path) -> None:
    """An lr of 1e-5 moves them; in pure bfloat16 (--paper_numerics) most weights stand still."""
    main(world.train_flags(tmp_path / "masters", dtype="bfloat16", train_lr=1e-5, max_steps=1))
    main(world.train_flags(tmp_path / "pure", paper_numerics=True, train_lr=1e-5, max_steps=1))
    base = load_model("llava", world.model, vit_path=world.model / "tower")
    moved = {}
    for name in ("masters", "pure"):
        tensors = load_file(str(tmp_path / name / "trained.safetensors"))
        weight = tensors["connector.2.weight"].float()
        start = base.get_parameter("connector.2.weight").bfloat16().float()
        moved[name] = (weight != start).float().mean().item()
    assert load_file(str(tmp_path / "masters" / "trained.safetensors"))["connector.0.bias"].dtype == torch.float32
    assert moved["masters"] > 0.95 and moved["pure"] < 0.3


def test_t7_release_weights_run_over_all_epochs(world: World, tmp_path: Path) -> None:
    """Two epochs of four steps: the negative weight is still 0.3 at the end of 40 % and 0 only at the very end."""
    flags = {"preset": "release", "gold_w": 0, "train_epoch": 2, "max_steps": -1}
    main(world.train_flags(tmp_path / "run", **flags))
    values = [e["weight_neg"] for e in log(tmp_path / "run") if "weight_neg" in e]
    assert len(values) == 8
    assert values[3] == pytest.approx(0.3) and 0 < values[5] < 0.3 and values[7] == 0.0


def test_without_paths_everything_is_the_mini_worlds(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Model, data, noted thresholds, and steps for a small model; said in one line."""
    from common import mini_world, paths
    from finetune.setup import inputs

    mini = tmp_path / "mini"
    (mini / "train").mkdir(parents=True)
    (mini / "train" / "images").symlink_to(world.images)
    for source in (world.pos_neg, world.sentences):
        (mini / source.name).write_bytes(source.read_bytes())
    noted = {"thresholds": {"hallucinated": 21.0, "grounded": 36.0, "sentence": 28.0}}
    (mini / "pos_neg.json.manifest.json").write_text(json.dumps(noted), encoding="utf-8")
    for module in (inputs, mini_world, paths):
        monkeypatch.setattr(module, "MINI_LLAVA", world.model)
    monkeypatch.setattr(inputs, "MiniWorld", lambda: mini_world.MiniWorld(mini))
    save = str(tmp_path / "run")
    main(["--llava_vit_path", str(world.model / "tower"), "--ckpt_save_path", save, "--report_to", "none"])
    notes = read_json(tmp_path / "run" / "trained.safetensors.manifest.json")
    assert (notes["learning_rate"], notes["images_a_step"]) == (MINI_STEPS.lr, MINI_STEPS.images)
    assert notes["thresholds"] == noted["thresholds"]
    assert "using the bundled" in capsys.readouterr().err


def test_t14_runs_of_fewer_steps_than_validations(world: World, tmp_path: Path) -> None:
    """One step: validated once, no division by zero."""
    main(world.train_flags(tmp_path / "run", max_steps=1))
    assert sum("eval_neg" in e for e in log(tmp_path / "run")) == 1


def test_t15_clipping_warm_up_and_no_decay_of_biases(world: World, tmp_path: Path) -> None:
    """What the published loop lacks; a huge decay must leave the biases where the gradient alone puts them."""
    for name, decay in (("none", 0.0), ("huge", 50.0)):
        main(world.train_flags(tmp_path / name, train_wd=decay, max_steps=1, max_grad_norm=0.1))
    none, huge = (load_file(str(tmp_path / n / "trained.safetensors")) for n in ("none", "huge"))
    assert torch.equal(none["connector.0.bias"], huge["connector.0.bias"])
    assert not torch.equal(none["connector.0.weight"], huge["connector.0.weight"])
    main(world.train_flags(tmp_path / "warm", warmup_steps=4))
    rates = [e["learning_rate"] for e in log(tmp_path / "warm") if "learning_rate" in e]
    assert rates == pytest.approx([0.0, 2.5e-4, 5e-4, 7.5e-4, 1e-3, 1e-3])


def test_t22_one_log_call_a_step_with_all_parts(world: World, tmp_path: Path) -> None:
    """The published logger called twice, so that W&B's step ran at double speed."""
    main(world.train_flags(tmp_path / "run"))
    entries = [e for e in log(tmp_path / "run") if "loss" in e]
    assert [e["step"] for e in entries] == [1, 2, 3, 4, 5, 6]
    assert all({"loss_pos", "loss_neg", "loss_sent", "weight_neg", "learning_rate"} <= e.keys() for e in entries)
    one = entries[0]
    assert one["loss"] == pytest.approx(one["loss_pos"] + 0.2 * one["loss_sent"] - 0.3 * one["loss_neg"], rel=1e-4)


@pytest.mark.parametrize("trainable", ["decoder", "connector+lm_head", "lora"])
def test_other_parts_can_be_trained(world: World, tmp_path: Path, trainable: str) -> None:
    """Saved, and loaded again."""
    main(world.train_flags(tmp_path / "run", trainable=trainable, max_steps=2, report_to="tensorboard"))
    loaded = load_model("llava", world.model, ckpt=tmp_path / "run", vit_path=world.model / "tower")
    assert read_json(tmp_path / "run" / "trained.json")["selection"] == trainable
    assert loaded is not None


def test_instruction_data_is_a_part_of_its_own(world: World, tmp_path: Path) -> None:
    """The release's loss has it; without data that is an error that says what to do."""
    turns = [{"from": "human", "value": "<image>\nWhat is it?"}, {"from": "gpt", "value": "a dog"}]
    records = [{"image": f"{i:012d}.png", "conversations": turns} for i in range(3)]
    (tmp_path / "mix.json").write_text(json.dumps(records), encoding="utf-8")
    with pytest.raises(ArgumentError, match="--gold_data_path"):
        main(world.train_flags(tmp_path / "run", preset="release"))
    main(world.train_flags(tmp_path / "run", preset="release", gold_data_path=tmp_path / "mix.json"))
    entry = next(e for e in log(tmp_path / "run") if "loss" in e)
    assert entry["weight_gold"] == 0.3 and "loss_gold" in entry and "loss_sent" not in entry


def test_waiting_for_data_is_logged(undisturbed: Path) -> None:
    """As a share, with every logged step and for the whole run."""
    shares = [e["waiting"] for e in log(undisturbed) if "loss" in e]
    assert len(shares) == 30 and all(0 <= share <= 1 for share in shares)
    assert 0 < read_json(undisturbed / "trained.safetensors.manifest.json")["waiting_for_data"] < 1


def test_t18_importing_parses_nothing_and_help_is_fast() -> None:
    """Modules can be imported under any command line; --help needs no torch."""
    code = "import sys; sys.argv = ['x', '--nonsense']; import finetune.train, insight.caption, evaluate.eval_caption"
    check = f"{code}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], cwd=ROOT, check=False).returncode == 0
    for script in ("finetune/train.py", "insight/caption.py", "evaluate/eval_caption.py"):
        start = time.monotonic()
        subprocess.run([sys.executable, script, "--help"], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
        assert time.monotonic() - start < 3


def readme_commands() -> list[str]:
    """Arguments of every call of the script in the README of its room."""
    text = (ROOT / "finetune" / "README.md").read_text(encoding="utf-8")
    blocks = "\n".join(text.split("```")[1::2]).replace("\\\n", " ")
    return re.findall(r"finetune[./]train(?:\.py)? +(--[^#\n]+)", blocks)


@pytest.mark.parametrize("command", readme_commands())
def test_commands_of_the_readme_run(
    world: World, tmp_path: Path, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the tiny world: paths are its own, everything else is as written; launchers are tried in test_train_resume."""
    words = command.split()
    if "--keep" in words:  # whose samples name their scorer; the random model's captions would never end
        world = note_scorer(make_world(tmp_path / "world"))
        monkeypatch.setattr("finetune.probe.prober.MOST_TOKENS", 20)
    flags = world.train_flags(tmp_path / "run", max_steps=1)
    if "--load_in_4bit" in words:  # the tiny model is too narrow for blocks of 64 weights
        pytest.importorskip("bitsandbytes")
        tower = flags.index("--llava_vit_path")
        flags = [*flags[:tower], *flags[tower + 2 :], "--llava_path", str(MINI_LLAVA)]
    for name, value in zip(words, [*words[1:], "--"], strict=True):
        if name.startswith("--") and not name.endswith("_path"):
            flags += [name] if value.startswith("--") else [name, value]
    if any("recipes/mini_" in word for word in words):  # the tiny world has but spans, and two blocks
        flags += ["--repair_w", "0", "--gold_w", "0", "--trainable", "decoder:1"]
    main(flags)
    assert (tmp_path / "run" / "trained.safetensors").exists() != ("--dry_run" in words)


def test_adapters_as_asked_resume_byte_for_byte_with_dropout(world: World, tmp_path: Path) -> None:
    """Dropout draws from the generators that a checkpoint keeps."""
    more = {
        "trainable": "connector+lora",
        "lora_rank": 4,
        "lora_alpha": 4,
        "lora_dropout": 0.2,
        "lora_targets": "v_proj",
    }
    main(world.train_flags(tmp_path / "whole", **more))
    card = read_json(tmp_path / "whole" / "trained.json")
    assert card["lora"] == {"rank": 4, "alpha": 4, "dropout": 0.2, "targets": ["v_proj"]}
    assert sum(".lora_" in name for name in card["tensors"]) == 2 * 2
    main(world.train_flags(tmp_path / "run", **more))
    pointer = tmp_path / "run" / "last.json"
    pointer.write_text(json.dumps(read_json(pointer) | {"step": 4, "finished": False}), encoding="utf-8")
    (tmp_path / "run" / "trained.safetensors").unlink()
    main(world.train_flags(tmp_path / "run", **more))
    assert weights(tmp_path / "run") == weights(tmp_path / "whole")
    without = {**more, "lora_dropout": 0.0}
    main(world.train_flags(tmp_path / "without", **without))
    assert weights(tmp_path / "without") != weights(tmp_path / "whole")


def test_trackers_show_what_is_said_before_and_after(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TensorBoard's own files are read back; W&B is stood in for. The weights are those without any tracker."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for name in ("TENSORBOARD_LOGGING_DIR", "WANDB_MODE"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    said: list[tuple[list[str], int]] = []
    wandb = SimpleNamespace(
        Image=lambda picture, caption: (picture.size, caption),
        log=lambda values: said.append(([text for _, text in values["gallery"]], values["train/global_step"])),
    )
    main(world.train_flags(tmp_path / "plain", max_steps=2))
    monkeypatch.setitem(sys.modules, "wandb", wandb)

    def both(rows: Any, step: int) -> None:
        gallery.in_tensorboard(rows, step)
        gallery.in_wandb(rows, step)

    monkeypatch.setattr(gallery, "SHOWS", {"tensorboard": both})
    main(world.train_flags(tmp_path / "run", max_steps=2, report_to="tensorboard"))
    assert weights(tmp_path / "run") == weights(tmp_path / "plain")
    held_out = read_json(tmp_path / "run" / "split.json")["valid"]
    assert [step for _, step in said] == [0, 2]
    assert [text.split("\n")[0] for text in said[0][0]] == held_out
    assert all("\nbefore: " in text for text in said[0][0])
    assert all("\nafter: " in text and "\nbefore: " in text for text in said[1][0])
    read = EventAccumulator(str(tmp_path / "run" / "logs")).Reload()
    assert sorted(read.Tags()["images"]) == [f"gallery/{name}" for name in held_out]
    assert [event.step for event in read.Images(f"gallery/{held_out[0]}")] == [0, 2]
    assert read.Tensors(f"gallery/{held_out[0]}/text_summary")[0].tensor_proto.string_val
