"""Memory that loading a 7B-shaped LLaVA checkpoint takes, beside the size of the model itself.

    python tests/bench/bench_loading.py --fraction 8            # on the CPU, an eighth of the layers
    python tests/bench/bench_loading.py --fraction 1 --device cuda

Writes a synthetic checkpoint in the original layout (sharded .bin, float16), loads it in bfloat16 in a fresh process,
and prints one line of JSON.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.args import flag, parse
from common.cli import run
from common.errors import DataError
from common.paths import ROOT
from common.progress import announce

if TYPE_CHECKING:
    from torch import Tensor

LAYERS, HIDDEN, FFN, VOCABULARY = 32, 4096, 11008, 32000
SHARD_BYTES = 4 << 30
# Run in a fresh process: memory of the process before and at the peak of loading, in bytes.
CHILD = """
import json, resource, sys, torch, transformers
from transformers import CLIPVisionModel, LlamaForCausalLM
from common.models import load_model
from common.models.families.llava import Llava
folder, device = sys.argv[1:]
if device == "cuda":
    torch.zeros(1, device=device)
before = int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize()
open("/proc/self/clear_refs", "w").write("5")
model = load_model("llava", folder, device=device, dtype=torch.bfloat16)
peak = [l for l in open("/proc/self/status") if l.startswith("VmHWM")][0].split()[1]
size = sum(p.nbytes for p in model.parameters())
gpu = torch.cuda.max_memory_allocated() if device == "cuda" else 0
print(json.dumps({"size": size, "cpu_peak": int(peak) * 1024 - before, "gpu_peak": gpu}))
"""


@dataclass
class LoadingArguments:
    """What to write and load."""

    fraction: int = flag(8, "one in how many decoder layers is written; 1 is full size, 13.5 GB of disk")
    device: str = flag("cpu", "cpu or cuda", ("cpu", "cuda"))
    folder: str | None = flag(None, "where to write; default a temporary folder")


def synthetic_tensors(layers: int) -> Iterator[tuple[str, Tensor]]:
    """Name and tensor of a LLaVA-1.5-7B with so many decoder layers, tower inside, float16."""
    import torch

    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (VOCABULARY, HIDDEN)}
    for i in range(layers):
        layer = f"model.layers.{i}."
        shapes |= {f"{layer}self_attn.{part}_proj.weight": (HIDDEN, HIDDEN) for part in "qkvo"}
        shapes |= {f"{layer}mlp.{part}_proj.weight": (FFN, HIDDEN) for part in ("gate", "up")}
        shapes |= {f"{layer}mlp.down_proj.weight": (HIDDEN, FFN)}
        shapes |= {f"{layer}{norm}.weight": (HIDDEN,) for norm in ("input_layernorm", "post_attention_layernorm")}
    shapes |= {"model.norm.weight": (HIDDEN,), "lm_head.weight": (VOCABULARY, HIDDEN)}
    shapes |= {"model.mm_projector.0.weight": (HIDDEN, 1024), "model.mm_projector.2.weight": (HIDDEN, HIDDEN)}
    shapes |= {f"model.mm_projector.{i}.bias": (HIDDEN,) for i in (0, 2)}
    prefix = "model.vision_tower.vision_tower.vision_model."
    shapes |= {f"{prefix}{name}": shape for name, shape in tower_shapes().items()}
    for name, shape in shapes.items():
        yield name, torch.full(shape, 0.01, dtype=torch.float16)


def tower_shapes() -> dict[str, tuple[int, ...]]:
    """CLIP ViT-L/14 at 336."""
    shapes: dict[str, tuple[int, ...]] = {
        "embeddings.class_embedding": (1024,),
        "embeddings.patch_embedding.weight": (1024, 3, 14, 14),
        "embeddings.position_embedding.weight": (577, 1024),
    }
    norms = ["pre_layrnorm", "post_layernorm"]
    linears: list[tuple[str, int, int]] = []
    for i in range(24):
        layer = f"encoder.layers.{i}."
        norms += [f"{layer}layer_norm1", f"{layer}layer_norm2"]
        linears += [(f"{layer}self_attn.{part}_proj", 1024, 1024) for part in ("q", "k", "v", "out")]
        linears += [(f"{layer}mlp.fc1", 4096, 1024), (f"{layer}mlp.fc2", 1024, 4096)]
    for name in norms:
        shapes |= {f"{name}.weight": (1024,), f"{name}.bias": (1024,)}
    for name, out, inputs in linears:
        shapes |= {f"{name}.weight": (out, inputs), f"{name}.bias": (out,)}
    return shapes


def write_checkpoint(folder: Path, layers: int) -> None:
    """The checkpoint in the original layout, with a stand-in tokenizer of the right size."""
    import torch
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    shard: dict[str, Any] = {}
    weight_map: dict[str, str] = {}
    count = size = 0
    for name, tensor in synthetic_tensors(layers):
        if size + tensor.nbytes > SHARD_BYTES:
            torch.save(shard, folder / f"pytorch_model-{count:05d}.bin")
            shard, size, count = {}, 0, count + 1
        shard[name] = tensor
        size += tensor.nbytes
        weight_map[name] = f"pytorch_model-{count:05d}.bin"
    torch.save(shard, folder / f"pytorch_model-{count:05d}.bin")
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": weight_map}))
    vocabulary = {"<unk>": 0, "<s>": 1, "</s>": 2} | {f"w{i}": i for i in range(3, VOCABULARY)}
    plain = Tokenizer(models.BPE(vocabulary, [], unk_token="<unk>"))
    names = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>"}
    PreTrainedTokenizerFast(tokenizer_object=plain, **names).save_pretrained(folder)
    config = {
        "architectures": ["LlavaLlamaForCausalLM"],
        "model_type": "llava",
        "hidden_size": HIDDEN,
        "intermediate_size": FFN,
        "num_hidden_layers": layers,
        "num_attention_heads": 32,
        "vocab_size": VOCABULARY,
        "mm_projector_type": "mlp2x_gelu",
    }
    (folder / "config.json").write_text(json.dumps(config))


def measure_loading(args: LoadingArguments) -> dict[str, Any]:
    """Write, load in a fresh process, and compare its peak with the model's size. Raises DataError if that fails."""
    gib = 2**30
    with tempfile.TemporaryDirectory(dir=args.folder) as name:
        announce(f"writing a checkpoint of {LAYERS // args.fraction} layers to {name}")
        write_checkpoint(Path(name), LAYERS // args.fraction)
        done = subprocess.run(
            [sys.executable, "-c", CHILD, name, args.device], cwd=ROOT, capture_output=True, text=True, check=False
        )
    if done.returncode != 0:
        raise DataError(f"loading failed: {done.stderr.strip().splitlines()[-1]}")
    found = json.loads(done.stdout.splitlines()[-1])
    return {
        "layers": LAYERS // args.fraction,
        "device": args.device,
        "size_gib": found["size"] / gib,
        "cpu_peak_gib": found["cpu_peak"] / gib,
        "cpu_ratio": found["cpu_peak"] / found["size"],
        "gpu_ratio": found["gpu_peak"] / found["size"],
    }


def main() -> None:
    """Parse the command line and measure."""
    (args,) = parse([LoadingArguments], __doc__ or "")
    print(json.dumps(measure_loading(args)))


if __name__ == "__main__":
    run(main)
