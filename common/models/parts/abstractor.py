"""mPLUG-Owl's visual abstractor: learned queries that read the image tokens, and an end embedding behind them.

Shapes: n images, q queries, k image tokens, c hidden size of the abstractor, d of the decoder.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention, silu


@dataclass(frozen=True)
class AbstractorSizes:
    """Sizes of an abstractor; `eps` is that of `ffn_ln` alone, the other norms have torch's 1e-5."""

    queries: int
    hidden: int
    encoder_hidden: int
    intermediate: int
    layers: int
    heads: int
    output: int
    eps: float = 1e-6


class AbstractorAttention(nn.Module):
    """Multi-head attention of the queries over queries and image tokens."""

    def __init__(self, sizes: AbstractorSizes) -> None:
        super().__init__()
        self.heads = sizes.heads
        self.query = nn.Linear(sizes.hidden, sizes.hidden)
        self.key = nn.Linear(sizes.encoder_hidden, sizes.hidden)
        self.value = nn.Linear(sizes.encoder_hidden, sizes.hidden)

    def forward(self, queries: Tensor, tokens: Tensor) -> Tensor:
        """[n, q, c], [n, q + k, c] -> [n, q, c]."""
        q, k, v = (
            layer(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for layer, x in ((self.query, queries), (self.key, tokens), (self.value, tokens))
        )
        return scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)


class AbstractorMlp(nn.Module):
    """Gated feed-forward part with a norm inside."""

    def __init__(self, sizes: AbstractorSizes) -> None:
        super().__init__()
        self.w1 = nn.Linear(sizes.hidden, sizes.intermediate)
        self.w2 = nn.Linear(sizes.intermediate, sizes.hidden)
        self.w3 = nn.Linear(sizes.hidden, sizes.intermediate)
        self.ffn_ln = nn.LayerNorm(sizes.intermediate, eps=sizes.eps)

    def forward(self, x: Tensor) -> Tensor:
        """[n, q, c] -> [n, q, c]."""
        out: Tensor = self.w2(self.ffn_ln(silu(self.w1(x)) * self.w3(x)))
        return out


class AbstractorOutput(nn.Module):
    """Both residuals. The first adds to the NORMALISED queries, not to the layer's input."""

    def __init__(self, sizes: AbstractorSizes) -> None:
        super().__init__()
        self.out_proj = nn.Linear(sizes.hidden, sizes.hidden)
        self.norm2 = nn.LayerNorm(sizes.hidden)
        self.mlp = AbstractorMlp(sizes)

    def forward(self, attended: Tensor, normalised: Tensor) -> Tensor:
        """[n, q, c] twice -> [n, q, c]."""
        x = normalised + self.out_proj(attended)
        out: Tensor = x + self.mlp(self.norm2(x))
        return out


class AbstractorCrossAttention(nn.Module):
    """One layer: queries attend to themselves and to the image."""

    def __init__(self, sizes: AbstractorSizes) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(sizes.hidden)
        self.normk = nn.LayerNorm(sizes.encoder_hidden)
        self.attention = AbstractorAttention(sizes)
        self.output = AbstractorOutput(sizes)

    def forward(self, x: Tensor, image: Tensor) -> Tensor:
        """[n, q, c], [n, k, c] -> [n, q, c]."""
        x = self.norm1(x)
        attended = self.attention(x, torch.cat([x, self.normk(image)], dim=1))
        out: Tensor = self.output(attended, x)
        return out


class AbstractorLayer(nn.Module):
    """The level of the tensor names above :class:`AbstractorCrossAttention`."""

    def __init__(self, sizes: AbstractorSizes) -> None:
        super().__init__()
        self.crossattention = AbstractorCrossAttention(sizes)

    def forward(self, x: Tensor, image: Tensor) -> Tensor:
        """[n, q, c], [n, k, c] -> [n, q, c]."""
        out: Tensor = self.crossattention(x, image)
        return out


class Abstractor(nn.Module):
    """Queries -> layers -> projection to the decoder, with the end embedding behind: [n, k, c] -> [n, q + 1, d]."""

    def __init__(self, sizes: AbstractorSizes) -> None:
        super().__init__()
        self.query_tokens = nn.Parameter(torch.zeros(1, sizes.queries, sizes.hidden))
        layers = nn.ModuleList(AbstractorLayer(sizes) for _ in range(sizes.layers))
        self.encoder = nn.ModuleDict({"layers": layers})
        self.visual_fc = nn.Linear(sizes.hidden, sizes.output)
        self.vit_eos = nn.Parameter(torch.zeros(1, 1, sizes.output))

    def forward(self, image: Tensor) -> Tensor:
        """Image tokens, class token included and normalised, to decoder embeddings."""
        x = self.query_tokens.expand(image.shape[0], -1, -1)
        for layer in self.encoder["layers"].children():
            x = layer(x, image)
        return torch.cat([self.visual_fc(x), self.vit_eos.expand(image.shape[0], -1, -1)], dim=1)
