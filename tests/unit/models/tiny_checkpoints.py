"""Writers of tiny random checkpoints whose names and shapes are those of the published files, written out plainly."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import sentencepiece
import torch
from safetensors.torch import save_file
from torch import Tensor

State = dict[str, Tensor]
HIDDEN, LAYERS, HEADS, FFN = 48, 2, 4, 64
CORPUS = (
    "A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, detailed,",
    "and polite answers to the user's questions. USER: Please describe the image. ASSISTANT: a dog, and a cat.",
    "The following is a conversation between a curious human and AI assistant. Human: AI: there is a red bench",
    "[INST] <Img></Img> Please describe the image in great detail. [/INST] It costs $$ 25 and $$ or x$$y$$.",
)


def write_tokenizer(path: Path, byte_fallback: bool = True) -> None:
    """Train a SentencePiece BPE model with LLaMA's settings: bytes, dummy prefix, split digits, blanks kept."""
    sentences = [*CORPUS * 3, "$$ x$$ y$$ z$$"]
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(sentences),
        model_prefix=str(path.with_suffix("")),
        vocab_size=400,
        model_type="bpe",
        byte_fallback=byte_fallback,
        split_digits=True,
        add_dummy_prefix=True,
        remove_extra_whitespaces=False,
        normalization_rule_name="identity",
        unk_id=0,
        bos_id=1,
        eos_id=2,
        pad_id=-1,
        num_threads=1,
        minloglevel=2,
    )


class Maker:
    """Draws tensors from one seed. `dtype`: of everything that it draws."""

    def __init__(self, seed: int = 0, dtype: torch.dtype = torch.float32) -> None:
        self.generator = torch.Generator().manual_seed(seed)
        self.dtype = dtype

    def __call__(self, *shape: int, scale: float | None = None, centre: float = 0.0) -> Tensor:
        """Normal numbers; matrices keep the size of what they multiply."""
        scale = scale if scale is not None else 1.5 / math.sqrt(shape[-1]) if len(shape) > 1 else 0.1
        return (torch.randn(*shape, generator=self.generator) * scale + centre).to(self.dtype)

    def linear(self, name: str, out: int, inputs: int) -> State:
        """Weight and bias of a linear layer."""
        return {f"{name}.weight": self(out, inputs), f"{name}.bias": self(out)}

    def norm(self, name: str, size: int) -> State:
        """Weight and bias of a LayerNorm."""
        return {f"{name}.weight": self(size, centre=1.0), f"{name}.bias": self(size)}


def llama_config(vocab: int, **more: Any) -> dict[str, Any]:
    """The flat config values of the decoder, as older files have them."""
    return {
        "hidden_size": HIDDEN,
        "intermediate_size": FFN,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "vocab_size": vocab,
        "max_position_embeddings": 4096,
        "rms_norm_eps": 1e-5,
        "hidden_act": "silu",
        "pretraining_tp": 1,
        "tie_word_embeddings": False,
        "torch_dtype": "float16",
        **more,
    }


def llama_state(make: Maker, vocab: int, prefix: str = "") -> State:
    """The decoder's tensors, stray rotary buffers included."""
    state = {f"{prefix}model.embed_tokens.weight": make(vocab, HIDDEN, scale=0.5)}
    for i in range(LAYERS):
        layer = f"{prefix}model.layers.{i}."
        for part in "qkvo":
            state[f"{layer}self_attn.{part}_proj.weight"] = make(HIDDEN, HIDDEN)
        state[f"{layer}self_attn.rotary_emb.inv_freq"] = torch.ones(HIDDEN // HEADS // 2)
        state[f"{layer}mlp.gate_proj.weight"] = make(FFN, HIDDEN)
        state[f"{layer}mlp.up_proj.weight"] = make(FFN, HIDDEN)
        state[f"{layer}mlp.down_proj.weight"] = make(HIDDEN, FFN)
        for norm in ("input_layernorm", "post_attention_layernorm"):
            state[f"{layer}{norm}.weight"] = make(HIDDEN, centre=1.0)
    state[f"{prefix}model.norm.weight"] = make(HIDDEN, centre=1.0)
    state[f"{prefix}lm_head.weight"] = make(vocab, HIDDEN, scale=0.5)
    return state


def projector_state(make: Maker, vision: int) -> State:
    """LLaVA's four tensors."""
    return make.linear("model.mm_projector.0", HIDDEN, vision) | make.linear("model.mm_projector.2", HIDDEN, HIDDEN)


CLIP = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "image_size": 28,
    "patch_size": 14,
    "hidden_act": "quick_gelu",
    "layer_norm_eps": 1e-5,
}


def clip_state(make: Maker, prefix: str = "vision_model.") -> State:
    """A CLIP vision model, its odd spelling included."""
    width, ffn = 32, 64
    state = {
        f"{prefix}embeddings.class_embedding": make(width, scale=0.5),
        f"{prefix}embeddings.patch_embedding.weight": make(width, 3, 14, 14, scale=0.05),
        f"{prefix}embeddings.position_embedding.weight": make(5, width, scale=0.5),
    }
    state |= make.norm(f"{prefix}pre_layrnorm", width) | make.norm(f"{prefix}post_layernorm", width)
    for i in range(3):
        layer = f"{prefix}encoder.layers.{i}."
        for part in ("q_proj", "k_proj", "v_proj", "out_proj"):
            state |= make.linear(f"{layer}self_attn.{part}", width, width)
        state |= make.norm(f"{layer}layer_norm1", width) | make.norm(f"{layer}layer_norm2", width)
        state |= make.linear(f"{layer}mlp.fc1", ffn, width) | make.linear(f"{layer}mlp.fc2", width, ffn)
    return state


def write_json_file(path: Path, value: Any) -> None:
    """Plain json.dump."""
    path.write_text(json.dumps(value), encoding="utf-8")


def write_weights(folder: Path, state: State, form: str = "sharded_bin") -> None:
    """Store tensors as sharded_bin, bin, sharded_safetensors or safetensors."""
    kind = "safetensors" if form.endswith("safetensors") else "bin"
    stem = "model" if kind == "safetensors" else "pytorch_model"
    names = list(state)
    half = len(names) // 2
    parts = [names[:half], names[half:]] if form.startswith("sharded") else [names]
    weight_map = {}
    for i, part in enumerate(parts):
        file = f"{stem}-{i + 1:05d}-of-{len(parts):05d}.{kind}" if len(parts) > 1 else f"{stem}.{kind}"
        tensors = {name: state[name].clone() for name in part}
        if kind == "bin":
            torch.save(tensors, folder / file)
        else:
            save_file(tensors, str(folder / file), metadata={"format": "pt"})
        weight_map |= dict.fromkeys(part, file)
    if len(parts) > 1:
        write_json_file(folder / f"{stem}.{kind}.index.json", {"metadata": {}, "weight_map": weight_map})


def write_tower(folder: Path, make: Maker, whole: bool = True) -> State:
    """A separate tower: a whole CLIP (with text side), or a bare vision model."""
    folder.mkdir(parents=True)
    state = clip_state(make)
    if whole:
        extra = {
            "text_model.embeddings.token_embedding.weight": make(7, 8),
            "vision_model.embeddings.position_ids": torch.arange(5)[None],
            "text_model.embeddings.position_ids": torch.arange(7)[None],
            "logit_scale": torch.tensor(4.6),
            "visual_projection.weight": make(8, 32),
            "text_projection.weight": make(8, 8),
        }
        config: dict[str, Any] = {"model_type": "clip", "vision_config": CLIP, "text_config": {}}
    else:
        extra, config = {}, {"model_type": "clip_vision_model", **CLIP}
    write_json_file(folder / "config.json", config)
    processor = {"size": 28, "crop_size": 28, "resample": 3, "feature_extractor_type": "CLIPFeatureExtractor"}
    write_json_file(folder / "preprocessor_config.json", processor)
    write_weights(folder, state | extra, "bin")
    return state


def write_llava(
    folder: Path,
    tokenizer: Path,
    name: str = "llava",
    form: str = "sharded_bin",
    inside: bool = False,
    dtype: torch.dtype = torch.float32,
) -> State:
    """An original LLaVA or ShareGPT4V folder with its tower beside it (or inside). Returns all tensors by name."""
    folder.mkdir(parents=True)
    make = Maker(3, dtype)
    vocab = sentencepiece.SentencePieceProcessor(model_file=str(tokenizer)).vocab_size()
    state = llama_state(make, vocab) | projector_state(make, 32)
    tower = clip_state(make, "model.vision_tower.vision_tower.vision_model.") if inside else {}
    architecture = "LlavaLlamaForCausalLM" if name == "llava" else "Share4VLlamaForCausalLM"
    config = llama_config(vocab, architectures=[architecture], model_type=name, mm_vision_tower="tower")
    config |= {"mm_hidden_size": 32, "mm_projector_type": "mlp2x_gelu", "mm_vision_select_layer": -2}
    config |= {"mm_vision_select_feature": "patch", "image_aspect_ratio": "pad"}
    write_json_file(folder / "config.json", config)
    write_weights(folder, state | tower, form)
    if name == "llava":
        torch.save(
            {key: value.clone() for key, value in state.items() if "mm_projector" in key}, folder / "mm_projector.bin"
        )
    shutil.copy(tokenizer, folder / "tokenizer.model")
    return state | tower | write_tower(folder / "tower", make, whole=name == "llava")


def owl_vision_state(make: Maker) -> State:
    """mPLUG-Owl's encoder: packed query_key_value, its own names."""
    v = "vision_model."
    state = {
        f"{v}embeddings.cls_token": make(1, 1, 32, scale=0.5),
        f"{v}embeddings.position_embedding": make(1, 5, 32, scale=0.5),
        f"{v}embeddings.patch_embed.weight": make(32, 3, 14, 14, scale=0.05),
    }
    state |= make.norm(f"{v}embeddings.pre_layernorm", 32) | make.norm(f"{v}post_layernorm", 32)
    for i in range(2):
        layer = f"{v}encoder.layers.{i}."
        state |= make.linear(f"{layer}self_attn.query_key_value", 96, 32) | make.linear(
            f"{layer}self_attn.dense", 32, 32
        )
        state |= make.norm(f"{layer}input_layernorm", 32) | make.norm(f"{layer}post_attention_layernorm", 32)
        state |= make.linear(f"{layer}mlp.fc1", 64, 32) | make.linear(f"{layer}mlp.fc2", 32, 64)
    return state


def owl_abstractor_state(make: Maker) -> State:
    """mPLUG-Owl's abstractor: 6 queries of 32, encoder of 32, feed-forward of 40."""
    state = {"query_tokens": make(1, 6, 32, scale=0.5), "abstractor.vit_eos": make(1, 1, HIDDEN, scale=0.5)}
    state |= make.linear("abstractor.visual_fc", HIDDEN, 32)
    for i in range(2):
        layer = f"abstractor.encoder.layers.{i}.crossattention."
        state |= make.linear(f"{layer}attention.query", 32, 32)
        state |= make.linear(f"{layer}attention.key", 32, 32) | make.linear(f"{layer}attention.value", 32, 32)
        state |= make.linear(f"{layer}output.out_proj", 32, 32)
        state |= make.norm(f"{layer}norm1", 32) | make.norm(f"{layer}normk", 32) | make.norm(f"{layer}output.norm2", 32)
        state |= make.linear(f"{layer}output.mlp.w1", 40, 32) | make.linear(f"{layer}output.mlp.w3", 40, 32)
        state |= make.linear(f"{layer}output.mlp.w2", 32, 40) | make.norm(f"{layer}output.mlp.ffn_ln", 40)
    return state


def write_owl(folder: Path, tokenizer: Path, form: str = "sharded_bin", dtype: torch.dtype = torch.float32) -> State:
    """An mPLUG-Owl folder. Its config states another intermediate size than the tensors have, as published."""
    folder.mkdir(parents=True)
    make = Maker(5, dtype)
    vocab = sentencepiece.SentencePieceProcessor(model_file=str(tokenizer)).vocab_size()
    state = llama_state(make, vocab, "language_model.") | owl_vision_state(make) | owl_abstractor_state(make)
    config = {
        "architectures": ["MplugOwlForConditionalGeneration"],
        "model_type": "mplug-owl",
        "num_query_tokens": 6,
        "text_config": llama_config(vocab, model_type="llama", rms_norm_eps=1e-6),
        "vision_config": {
            **CLIP,
            "model_type": "mplug_owl_vision_model",
            "num_hidden_layers": 2,
            "layer_norm_eps": 1e-6,
        },
        "visual_abstractor_config": {
            "model_type": "mplug_owl_visual_abstract",
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "intermediate_size": 64,
            "encoder_hidden_size": 32,
            "layer_norm_eps": 1e-6,
            "attention_probs_dropout_prob": 0.1,
        },
    }
    write_json_file(folder / "config.json", config)
    write_json_file(folder / "generation_config.json", {"do_sample": True, "top_k": 3})
    write_json_file(folder / "preprocessor_config.json", {"size": 28, "crop_size": 28, "resample": 3})
    write_weights(folder, state, form)
    shutil.copy(tokenizer, folder / "tokenizer.model")
    return state
