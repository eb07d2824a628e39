"""MiniGPT-4's separate files, tiny and random, with the names and shapes of the published ones."""

from __future__ import annotations

import shutil
from pathlib import Path

import sentencepiece
import torch

from tests.unit.models.tiny_checkpoints import (
    HIDDEN,
    Maker,
    State,
    llama_config,
    llama_state,
    write_json_file,
    write_weights,
)


def eva_state(make: Maker) -> State:
    """EVA ViT-g: 32 wide, 4 blocks of 4 heads, 4 x 4 patches, no key bias."""
    state = {"cls_token": make(1, 1, 32, scale=0.5), "pos_embed": make(1, 17, 32, scale=0.5)}
    state |= {"patch_embed.proj.weight": make(32, 3, 14, 14, scale=0.05), "patch_embed.proj.bias": make(32)}
    for i in range(2):
        block = f"blocks.{i}."
        state |= make.norm(f"{block}norm1", 32) | make.norm(f"{block}norm2", 32)
        state |= {f"{block}attn.q_bias": make(32), f"{block}attn.v_bias": make(32)}
        state |= {f"{block}attn.qkv.weight": make(96, 32)} | make.linear(f"{block}attn.proj", 32, 32)
        state |= make.linear(f"{block}mlp.fc1", 48, 32) | make.linear(f"{block}mlp.fc2", 32, 48)
    return state


def qformer_state(make: Maker) -> State:
    """BLIP-2's Q-Former: 5 queries of 24, cross-attention in even layers."""
    state = {"query_tokens": make(1, 5, 24, scale=0.5)} | make.norm("ln_vision", 32)
    state |= make.norm("Qformer.bert.embeddings.LayerNorm", 24)
    for i in range(2):
        layer = f"Qformer.bert.encoder.layer.{i}."
        kinds = (("attention", 24), ("crossattention", 32)) if i % 2 == 0 else (("attention", 24),)
        for kind, inputs in kinds:
            state |= make.linear(f"{layer}{kind}.self.query", 24, 24)
            state |= make.linear(f"{layer}{kind}.self.key", 24, inputs) | make.linear(
                f"{layer}{kind}.self.value", 24, inputs
            )
            state |= make.linear(f"{layer}{kind}.output.dense", 24, 24) | make.norm(
                f"{layer}{kind}.output.LayerNorm", 24
            )
        state |= make.linear(f"{layer}intermediate_query.dense", 40, 24)
        state |= make.linear(f"{layer}output_query.dense", 24, 40) | make.norm(f"{layer}output_query.LayerNorm", 24)
    return state


def qformer_strays(make: Maker) -> State:
    """What the published Q-Former file holds besides."""
    strays = {"Qformer.bert.embeddings.position_ids": torch.arange(4)[None], "Qformer.cls.predictions.bias": make(7)}
    strays |= make.linear("t5_proj", 8, 24) | make.linear("Qformer.bert.encoder.layer.0.intermediate.dense", 40, 24)
    strays |= make.linear("Qformer.bert.encoder.layer.0.output.dense", 24, 40)
    return strays | {"Qformer.bert.embeddings.word_embeddings.weight": make(7, 24)}


def write_minigpt(folder: Path, tokenizer: Path, qformer: bool = False, dtype: torch.dtype = torch.float32) -> State:
    """MiniGPT-4's separate files in one folder, under their published names."""
    folder.mkdir(parents=True)
    make = Maker(7, dtype)
    vocab = sentencepiece.SentencePieceProcessor(model_file=str(tokenizer)).vocab_size()
    llama = folder / ("vicuna-7b" if qformer else "Llama-2-7b-chat-hf")
    llama.mkdir()
    decoder = llama_state(make, vocab)
    write_json_file(llama / "config.json", llama_config(vocab, architectures=["LlamaForCausalLM"], model_type="llama"))
    write_json_file(llama / "generation_config.json", {"do_sample": True, "temperature": 0.6, "top_p": 0.9})
    write_weights(llama, decoder)
    shutil.copy(tokenizer, llama / "tokenizer.model")
    eva = eva_state(make)
    torch.save(eva | {"head.weight": make(3, 32), "norm.bias": make(32)}, folder / "eva_vit_g.pth")
    projection = make.linear("llama_proj", HIDDEN, 24 if qformer else 128)
    stem = "pretrained_minigpt4_7b.pth" if qformer else "pretrained_minigpt4_llama2_7b.pth"
    torch.save({"model": projection, "epoch": 3, "config": {"model": {"arch": "minigpt4"}}}, folder / stem)
    bridge = qformer_state(make) if qformer else {}
    if qformer:
        torch.save({"model": bridge | qformer_strays(make)}, folder / "blip2_pretrained_flant5xxl.pth")
    return decoder | eva | projection | bridge
