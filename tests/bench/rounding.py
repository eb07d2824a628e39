"""What 16 bits do to log-probabilities: a decoder of random weights whose activations are rounded at chosen places.

    python -m tests.bench.rounding

The weights are bfloat16 numbers and every sum is float32's; only what is stored between two operations is rounded.
Prints how far the log-probability of the most likely id is from that without rounding: 24 rows of four texts, 8 layers
of 1,024, as `bench_decode` has them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from common.cli import run
from common.progress import say

LAYERS, WIDTH, GATED, HEADS, WORDS = 8, 1024, 2816, 8, 32000
ROWS, COUNTED, TEXTS = 200, 24, 4
SIZE = WIDTH // HEADS


@dataclass(frozen=True)
class Places:
    """Where activations are rounded: what products read, what they write, the residual, what the head reads."""

    read: bool = True
    written: bool = True
    residual: bool = True
    head: bool = True


WAYS = {
    "everything": Places(),
    "all but the residual": Places(residual=False),
    "what products read": Places(written=False, residual=False),
    "the same, but for the head": Places(written=False, residual=False, head=False),
    "what the head reads": Places(read=False, written=False, residual=False),
}


def rounded(x: Tensor, wanted: bool) -> Tensor:
    """To bfloat16 and back, if wanted."""
    return x.bfloat16().float() if wanted else x


def weights(rows: int, columns: int) -> Tensor:
    """Random bfloat16 numbers."""
    return rounded(torch.randn(rows, columns) / math.sqrt(columns), True)


def norm(x: Tensor) -> Tensor:
    """Root mean square, without weights."""
    return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-5)


def turned(x: Tensor) -> Tensor:
    """Rotary positions: [t, h, c]."""
    angles = torch.arange(len(x))[:, None] / 10000 ** (torch.arange(0, SIZE, 2) / SIZE)
    angles = torch.cat((angles, angles), -1)[:, None]
    return x * angles.cos() + torch.cat((-x[..., SIZE // 2 :], x[..., : SIZE // 2]), -1) * angles.sin()


def hidden(x: Tensor, layers: list[dict[str, Tensor]], places: Places) -> Tensor:
    """What the head reads: [t, d] -> [t, d]."""
    unseen = torch.full((len(x), len(x)), float("-inf")).triu(1)
    for layer in layers:
        read = rounded(norm(x), places.read)
        q, k, v = (rounded(read @ layer[name].T, places.written).unflatten(-1, (HEADS, SIZE)) for name in "qkv")
        q, k, v = (rounded(one, places.read) for one in (turned(q), turned(k), v))
        seen = torch.einsum("qhc,khc->hqk", q, k) / math.sqrt(SIZE) + unseen
        mixed = torch.einsum("hqk,khc->qhc", rounded(seen.softmax(-1), places.read), v).flatten(1)
        out = rounded(mixed, places.read) @ layer["o"].T
        x = rounded(x + rounded(out, places.written), places.residual)
        read = rounded(norm(x), places.read)
        gate, up = (rounded(read @ layer[name].T, places.written) for name in "gu")
        out = rounded(torch.nn.functional.silu(gate) * up, places.read) @ layer["d"].T
        x = rounded(x + rounded(out, places.written), places.residual)
    return rounded(norm(x), places.head)


def main() -> None:
    """Measure and print."""
    torch.manual_seed(0)
    shapes = {**dict.fromkeys("qkvo", (WIDTH, WIDTH)), **dict.fromkeys("gu", (GATED, WIDTH)), "d": (WIDTH, GATED)}
    layers = [{name: weights(*shape) for name, shape in shapes.items()} for _ in range(LAYERS)]
    head = weights(WORDS, WIDTH)

    def logs(x: Tensor, places: Places) -> Tensor:
        return (hidden(x, layers, places)[-COUNTED:] @ head.T).log_softmax(-1)

    texts = [torch.randn(ROWS, WIDTH) / 8 for _ in range(TEXTS)]
    right = [logs(x, Places(False, False, False, False)) for x in texts]
    for name, places in WAYS.items():
        off = torch.cat(
            [(logs(x, places) - y)[y == y.amax(-1, keepdim=True)].abs() for x, y in zip(texts, right, strict=True)]
        )
        say(
            f"{name}: {off.max():.3f} at most, {off.mean():.4f} in the mean, "
            f"{(off > 2e-2).float().mean():.0%} above 2e-2"
        )


if __name__ == "__main__":
    run(main)
