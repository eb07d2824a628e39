"""The groups of flags that several scripts have."""

from __future__ import annotations

from dataclasses import dataclass

from common.arguments.fields import flag, seed_flag
from common.errors import ArgumentError
from common.files.hub import local

MODEL_FAMILIES = ("llava", "share4v", "owl", "minigpt", "auto")  # each has its flags below
FROM_HUB = ("path", "ckpt_load_path")  # of a family's flags, those that may hold an id


@dataclass
class ImageArguments:
    """How image files become pixels, wherever some are opened."""

    ignore_exif_orientation: bool = flag(False, "leave images as they lie in the file, as published")


@dataclass
class ModelArguments(ImageArguments):
    """Which model, from which files. Without a path, `llava` is the bundled checkpoints/mini-llava."""

    model: str = flag("llava", "model family", MODEL_FAMILIES)
    model_path: str | None = flag(None, "checkpoint folder of the chosen model (short for --{model}_path)")
    ckpt_load_path: str | None = flag(None, "trained tensors laid over it (short for --{model}_ckpt_load_path)")
    ckpt_save_path: str | None = flag(None, "where training saves (short for --{model}_ckpt_save_path)")
    llava_path: str | None = flag(None, "LLaVA checkpoint folder")
    llava_ckpt_load_path: str | None = flag(None, "trained tensors for LLaVA")
    llava_ckpt_save_path: str | None = flag(None, "where training of LLaVA saves")
    llava_vit_path: str | None = flag(None, "CLIP tower of an original-layout LLaVA checkpoint")
    share4v_path: str | None = flag(None, "ShareGPT4V checkpoint folder")
    share4v_ckpt_load_path: str | None = flag(None, "trained tensors for ShareGPT4V")
    share4v_ckpt_save_path: str | None = flag(None, "where training of ShareGPT4V saves")
    share4v_vit_path: str | None = flag(None, "vision tower of ShareGPT4V")
    owl_path: str | None = flag(None, "mPLUG-Owl checkpoint folder")
    owl_ckpt_load_path: str | None = flag(None, "trained tensors for mPLUG-Owl")
    owl_ckpt_save_path: str | None = flag(None, "where training of mPLUG-Owl saves")
    minigpt_path: str | None = flag(None, "MiniGPT-4 projection file (.pth)")
    minigpt_ckpt_load_path: str | None = flag(None, "trained tensors for MiniGPT-4")
    minigpt_ckpt_save_path: str | None = flag(None, "where training of MiniGPT-4 saves")
    minigpt_vit_path: str | None = flag(None, "EVA ViT-g file of MiniGPT-4")
    minigpt_llama_path: str | None = flag(None, "Llama or Vicuna folder of MiniGPT-4")
    minigpt_qformer_path: str | None = flag(None, "Q-Former file of MiniGPT-4 v1")
    minigpt_train_cfg: str | None = flag(None, "published YAML config of MiniGPT-4")
    auto_path: str | None = flag(None, "any image-text-to-text checkpoint that transformers loads")
    auto_ckpt_load_path: str | None = flag(None, "trained tensors for the auto model")
    auto_ckpt_save_path: str | None = flag(None, "where training of the auto model saves")
    image_aspect_ratio: str = flag("crop", "crop: shortest side and centre crop; pad: square first", ("crop", "pad"))
    device: str = flag("auto", "cpu, cuda, cuda:1 ...; auto takes a GPU where there is one")
    dtype: str = flag(
        "auto",
        "of the frozen weights; auto: bfloat16 on a GPU, float32 on the CPU",
        ("auto", "float32", "bfloat16", "float16"),
    )
    load_in_4bit: bool = flag(False, "keep the frozen decoder in 4 bits (nf4); needs bitsandbytes")
    decoder_dtype: str = flag("auto", "of its frozen products: as --dtype, or fp8, for training", ("auto", "fp8"))
    fp8_from_block: int | None = flag(None, "first of its blocks in fp8; default: all, early ones in part", least=0)
    trust_remote_code: bool = flag(False, "run model code that comes with an auto checkpoint")

    @property
    def fewer_bits(self) -> str | None:
        """The flag by which the decoder's weights are kept in 4 or 8 bits; None where they are not."""
        if self.load_in_4bit:
            return "--load_in_4bit"
        return None if self.decoder_dtype == "auto" else f"--decoder_dtype {self.decoder_dtype}"

    def chosen(self, name: str) -> str | None:
        """As :meth:`given`, with what a hub id names fetched: the folder or file on this machine.

        Raises ArgumentError as :meth:`given`, CheckpointError as :func:`common.files.hub.local`.
        """
        text = self.given(name)
        return local(text, f"--{self.model}_{name}") if text and name in FROM_HUB else text

    def is_bundled(self) -> bool:
        """Whether the bundled mini-llava is meant: `llava` without a path."""
        return self.model == "llava" and self.given("path") is None

    def given(self, name: str) -> str | None:
        """The value of `--{model}_{name}`, or of its short form; None if neither was given.

        Raises ArgumentError if both were given and differ.
        """
        long = getattr(self, f"{self.model}_{name}", None)
        short = getattr(self, {"path": "model_path"}.get(name, name), None)
        if long and short and long != short:
            raise ArgumentError(f"--{self.model}_{name} {long} and its short form {short} disagree; give one")
        return long or short


@dataclass
class RunArguments:
    """What every long step has."""

    seed: int = seed_flag("seed of everything random in this step")
    restart: bool = flag(False, "begin anew instead of continuing what an earlier run left")
    dry_run: bool = flag(False, "check the input, say what would be done and what it costs, and stop")
    start_pos: int = flag(0, "first item to work on", least=0)
    end_pos: int = flag(-1, "item to stop before; -1: all", least=-1)


@dataclass
class GenerationArguments:
    """How captions and answers are generated."""

    max_new_tokens: int = flag(200, "most tokens to generate", least=1)
    generate_num_beams: int = flag(5, "beams; 1 is greedy", least=1)
    length_penalty: float = flag(0.0, "of the beam search, as published")
    infer_bs: int | None = flag(None, "answers made at a time; default: as many as are useful and fit", least=1)


@dataclass
class ThresholdArguments:
    """CLIP scores that cut objects into sets; numbers, or `auto` from the score distribution."""

    hal_clip_thres: str | None = flag(None, "below: hallucinated; default 23, for the mini world auto")
    norm_clip_thres: str | None = flag(None, "above: grounded; default 32, for the mini world auto")
    sentence_clip_thres: str | None = flag(None, "mean above: sentence sample; default 27.5, for the mini world auto")
