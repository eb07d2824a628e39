"""The four models written a second time, plainly, in float64, from the tensors of the files and nothing of ours."""

from __future__ import annotations

import math

import torch
from torch import Tensor

State = dict[str, Tensor]


def linear(state: State, name: str, x: Tensor) -> Tensor:
    """x W^T + b, where there is a bias."""
    out = x @ state[f"{name}.weight"].double().T
    return out + state[f"{name}.bias"].double() if f"{name}.bias" in state else out


def layer_norm(state: State, name: str, x: Tensor, eps: float) -> Tensor:
    """Mean and variance over the last axis."""
    centred = x - x.mean(-1, keepdim=True)
    scaled = centred / torch.sqrt((centred**2).mean(-1, keepdim=True) + eps)
    return scaled * state[f"{name}.weight"].double() + state[f"{name}.bias"].double()


def attend(q: Tensor, k: Tensor, v: Tensor, heads: int, causal: bool = False) -> Tensor:
    """[t, c], [s, c], [s, c] -> [t, c], head by head."""
    size = q.shape[1] // heads
    parts = []
    for h in range(heads):
        cut = slice(h * size, (h + 1) * size)
        scores = q[:, cut] @ k[:, cut].T / math.sqrt(size)
        if causal:
            scores = scores + torch.full_like(scores, -math.inf).triu(1)
        parts.append(scores.softmax(-1) @ v[:, cut])
    return torch.cat(parts, 1)


def quick_gelu(x: Tensor) -> Tensor:
    """CLIP's."""
    return x * torch.sigmoid(1.702 * x)


def gelu(x: Tensor) -> Tensor:
    """The exact one."""
    return x * 0.5 * (1 + torch.erf(x / math.sqrt(2)))


def patches(kernel: Tensor, image: Tensor, side: int = 14) -> Tensor:
    """[3, s, s] -> [patches in rows, c]: each patch times the kernel."""
    rows = []
    for top in range(0, image.shape[1], side):
        for left in range(0, image.shape[2], side):
            patch = image[:, top : top + side, left : left + side]
            rows.append((kernel.double() * patch.double()).sum((1, 2, 3)))
    return torch.stack(rows)


def clip_features(state: State, image: Tensor, prefix: str = "vision_model.") -> Tensor:
    """LLaVA's features: patch tokens after the last but one layer, through the projector."""
    p = prefix
    x = patches(state[f"{p}embeddings.patch_embedding.weight"], image)
    x = torch.cat([state[f"{p}embeddings.class_embedding"].double()[None], x])
    x = layer_norm(state, f"{p}pre_layrnorm", x + state[f"{p}embeddings.position_embedding.weight"].double(), 1e-5)
    for i in range(2):  # of three
        layer = f"{p}encoder.layers.{i}."
        y = layer_norm(state, f"{layer}layer_norm1", x, 1e-5)
        q, k, v = (linear(state, f"{layer}self_attn.{part}_proj", y) for part in "qkv")
        x = x + linear(state, f"{layer}self_attn.out_proj", attend(q, k, v, 4))
        y = layer_norm(state, f"{layer}layer_norm2", x, 1e-5)
        x = x + linear(state, f"{layer}mlp.fc2", quick_gelu(linear(state, f"{layer}mlp.fc1", y)))
    hidden = gelu(linear(state, "model.mm_projector.0", x[1:]))
    return linear(state, "model.mm_projector.2", hidden)


def owl_features(state: State, image: Tensor) -> Tensor:
    """mPLUG-Owl's features: all tokens of the last layer, normalised, through the abstractor."""
    v = "vision_model."
    x = patches(state[f"{v}embeddings.patch_embed.weight"], image)
    x = torch.cat([state[f"{v}embeddings.cls_token"].double()[0], x])
    x = layer_norm(
        state, f"{v}embeddings.pre_layernorm", x + state[f"{v}embeddings.position_embedding"].double()[0], 1e-6
    )
    for i in range(2):
        layer = f"{v}encoder.layers.{i}."
        packed = linear(
            state, f"{layer}self_attn.query_key_value", layer_norm(state, f"{layer}input_layernorm", x, 1e-6)
        )
        # The packing: head 0's q, k, v (8 each), then head 1's ...
        q, k, val = (torch.cat([packed[:, h * 24 + part * 8 :][:, :8] for h in range(4)], 1) for part in range(3))
        x = x + linear(state, f"{layer}self_attn.dense", attend(q, k, val, 4))
        y = layer_norm(state, f"{layer}post_attention_layernorm", x, 1e-6)
        x = x + linear(state, f"{layer}mlp.fc2", quick_gelu(linear(state, f"{layer}mlp.fc1", y)))
    seen = layer_norm(state, f"{v}post_layernorm", x, 1e-6)
    q = state["query_tokens"].double()[0]
    for i in range(2):
        layer = f"abstractor.encoder.layers.{i}.crossattention."
        n = layer_norm(state, f"{layer}norm1", q, 1e-5)
        both = torch.cat([n, layer_norm(state, f"{layer}normk", seen, 1e-5)])
        a = attend(
            *(linear(state, f"{layer}attention.{p}", t) for p, t in (("query", n), ("key", both), ("value", both))), 4
        )
        y = n + linear(state, f"{layer}output.out_proj", a)
        h = layer_norm(state, f"{layer}output.norm2", y, 1e-5)
        gate = linear(state, f"{layer}output.mlp.w1", h)
        inner = gate * torch.sigmoid(gate) * linear(state, f"{layer}output.mlp.w3", h)
        q = y + linear(state, f"{layer}output.mlp.w2", layer_norm(state, f"{layer}output.mlp.ffn_ln", inner, 1e-6))
    return torch.cat([linear(state, "abstractor.visual_fc", q), state["abstractor.vit_eos"].double()[0]])


def eva_tokens(state: State, image: Tensor) -> Tensor:
    """All tokens of EVA ViT-g before `ln_vision`."""
    x = patches(state["patch_embed.proj.weight"], image) + state["patch_embed.proj.bias"].double()
    x = torch.cat([state["cls_token"].double()[0], x]) + state["pos_embed"].double()[0]
    for i in range(2):
        block = f"blocks.{i}."
        y = layer_norm(state, f"{block}norm1", x, 1e-6)
        q, k, v = (y @ state[f"{block}attn.qkv.weight"].double()[part * 32 : part * 32 + 32].T for part in range(3))
        q, v = q + state[f"{block}attn.q_bias"].double(), v + state[f"{block}attn.v_bias"].double()
        x = x + linear(state, f"{block}attn.proj", attend(q, k, v, 4))
        y = layer_norm(state, f"{block}norm2", x, 1e-6)
        x = x + linear(state, f"{block}mlp.fc2", gelu(linear(state, f"{block}mlp.fc1", y)))
    return x


def minigpt_features(state: State, image: Tensor) -> Tensor:
    """The variant without Q-Former: `ln_vision` is plain, four patches in a row are joined."""
    tokens = eva_tokens(state, image)
    plain: State = {"n.weight": torch.ones(32), "n.bias": torch.zeros(32)}
    tokens = layer_norm(plain, "n", tokens, 1e-5)[1:]
    joined = torch.stack([torch.cat(list(tokens[i : i + 4])) for i in range(0, len(tokens), 4)])
    return linear(state, "llama_proj", joined)


def minigpt_v1_features(state: State, image: Tensor) -> Tensor:
    """The variant with Q-Former: cross-attention in even layers, post-norm everywhere."""
    seen = layer_norm(state, "ln_vision", eva_tokens(state, image), 1e-5)
    x = layer_norm(state, "Qformer.bert.embeddings.LayerNorm", state["query_tokens"].double()[0], 1e-12)
    for i in range(2):
        layer = f"Qformer.bert.encoder.layer.{i}."
        for kind, source in (("attention", None), ("crossattention", seen))[: 1 + (i % 2 == 0)]:
            other = x if source is None else source
            q = linear(state, f"{layer}{kind}.self.query", x)
            k, v = (linear(state, f"{layer}{kind}.self.{part}", other) for part in ("key", "value"))
            out = linear(state, f"{layer}{kind}.output.dense", attend(q, k, v, 3))
            x = layer_norm(state, f"{layer}{kind}.output.LayerNorm", x + out, 1e-12)
        inner = gelu(linear(state, f"{layer}intermediate_query.dense", x))
        out = linear(state, f"{layer}output_query.dense", inner)
        x = layer_norm(state, f"{layer}output_query.LayerNorm", x + out, 1e-12)
    return linear(state, "llama_proj", x)


FEATURES = {
    "llava": clip_features,
    "share4v": clip_features,
    "owl": owl_features,
    "minigpt": minigpt_features,
    "minigpt_v1": minigpt_v1_features,
}


def rotate(x: Tensor, heads: int) -> Tensor:
    """Rotary positions 0..t-1 in the half-rotation layout, theta 10000."""
    size = x.shape[1] // heads
    angles = torch.arange(len(x)).double()[:, None] * 10000.0 ** (-torch.arange(0, size, 2).double() / size)
    out = []
    for h in range(heads):
        a, b = x[:, h * size : h * size + size // 2], x[:, h * size + size // 2 : (h + 1) * size]
        out += [a * angles.cos() - b * angles.sin(), b * angles.cos() + a * angles.sin()]
    return torch.cat(out, 1)


def rms_norm(weight: Tensor, x: Tensor, eps: float) -> Tensor:
    """Llama's norm."""
    return x / torch.sqrt((x**2).mean(-1, keepdim=True) + eps) * weight.double()


def llama_logits(state: State, embeds: Tensor, eps: float, prefix: str = "") -> Tensor:
    """[t, d] input embeddings -> [t, vocabulary], two layers of four heads."""
    x = embeds
    for i in range(2):
        layer = f"{prefix}model.layers.{i}."
        y = rms_norm(state[f"{layer}input_layernorm.weight"], x, eps)
        q, k, v = (linear(state, f"{layer}self_attn.{part}_proj", y) for part in "qkv")
        x = x + linear(state, f"{layer}self_attn.o_proj", attend(rotate(q, 4), rotate(k, 4), v, 4, causal=True))
        y = rms_norm(state[f"{layer}post_attention_layernorm.weight"], x, eps)
        gate = linear(state, f"{layer}mlp.gate_proj", y)
        x = x + linear(
            state, f"{layer}mlp.down_proj", gate * torch.sigmoid(gate) * linear(state, f"{layer}mlp.up_proj", y)
        )
    return linear(state, f"{prefix}lm_head", rms_norm(state[f"{prefix}model.norm.weight"], x, eps))


def mean_loss(
    state: State, before: list[int], features: Tensor, after: list[int], target: list[int], eps: float, prefix: str = ""
) -> float:
    """Mean cross-entropy of the target after [before, image, after]."""
    words = state[f"{prefix}model.embed_tokens.weight"].double()
    embeds = torch.cat([words[before], features, words[after + target]])
    logits = llama_logits(state, embeds, eps, prefix)
    start = len(embeds) - len(target)
    losses = [-logits[start - 1 + i].log_softmax(-1)[token] for i, token in enumerate(target)]
    return float(torch.stack(losses).mean())
