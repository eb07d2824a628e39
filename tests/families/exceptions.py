"""What single families need beyond what follows from their classes: sizes that must fit together, markers, siblings."""

from __future__ import annotations

from collections.abc import Mapping

from tests.families.building import Changes
from tests.families.shrinking import HEAD, HIDDEN, IMAGE, PATCH

ROPE = {"rope_type": "default", "mrope_section": [2, 3, 3], "rope_theta": 10000.0}
M_ROPE = Changes({"text_config.rope_parameters": ROPE})
HALF_ROPE = Changes({"text_config.rope_parameters": {**ROPE, "partial_rotary_factor": 0.5, "mrope_section": [1, 1, 2]}})
MIXED = Changes({"text_config.layer_types": ["linear_attention", "full_attention"]})
CONVOLVED = Changes({"text_config.layer_types": ["conv", "full_attention"]})
PINPOINTS = [[IMAGE, 2 * IMAGE], [2 * IMAGE, IMAGE]]
ANYRES = {"image_grid_pinpoints": PINPOINTS}
FOUR = {"image_seq_length": 4}
SIXTEEN = Changes(processor={"num_image_tokens": 16})
GEMMA = {"boi_token": "<start_of_image>", "eoi_token": "<end_of_image>", "image_token": "<image_soft_token>"}
GEMMA4 = {**GEMMA, "audio_token": "<audio>", "boa_token": "<start_of_audio>", "eoa_token": "<end_of_audio>"}
OMNI = {"vision_start_token_id": "<vision_bos_token>"}
CODEBOOK = {"vq_config.base_channels": 32, "vq_config.channel_multiplier": [1, 1, 1, 1], "vq_config.num_res_blocks": 1}
SPLIT = {"do_image_splitting": True, "size": {"longest_edge": 2 * IMAGE}, "max_image_size": {"longest_edge": IMAGE}}

CHANGES: Mapping[str, Changes] = {
    "aya_vision": Changes(processor={"img_size": IMAGE, "patch_size": PATCH, "downsample_factor": 2}),
    "cohere2_vision": Changes(images={"patch_size": 2}),
    "qwen2_vl": M_ROPE,
    "qwen2_5_vl": M_ROPE,
    "paddleocr_vl": M_ROPE,
    "glm4v": HALF_ROPE,
    "glm46v": HALF_ROPE,
    "gemma3": Changes(
        {"mm_tokens_per_image": 4},
        processor=FOUR,
        tokens=GEMMA,
        marker="<start_of_image>",
        config_tokens={"image_token_index": "<image_soft_token>"},
    ),
    "shieldgemma2": Changes(impossible="it classifies pictures, by a model around Gemma 3, and writes no text"),
    "aria": Changes(
        {
            "vision_config.image_size": 980,
            "vision_config.patch_size": 70,
            "projector_patch_to_query_dict": {196: 8},
        },
        processor={"size_conversion": {980: 8}},
    ),
    "mistral3": Changes(
        images={"patch_size": {"height": PATCH, "width": PATCH}, "size": {"longest_edge": 2 * IMAGE}},
        processor={"patch_size": PATCH, "spatial_merge_size": 2},
    ),
    "mistral_large4": Changes(
        {"text_config.head_dim": 8, "text_config.num_key_value_heads": 4},
        images={"patch_size": {"height": PATCH, "width": PATCH}, "size": {"longest_edge": 2 * IMAGE}},
        processor={"patch_size": PATCH, "spatial_merge_size": 2},
    ),
    "mllama": Changes(
        {
            "text_config.cross_attention_layers": [1],
            "vision_config.intermediate_layers_indices": [0, 1],
            "vision_config.vision_output_dim": 3 * HIDDEN,
            "vision_config.num_global_layers": 1,
        },
        images={"max_image_tiles": 4},
    ),
    "llama4": Changes(
        {
            "vision_config.projector_input_dim": HIDDEN,
            "vision_config.projector_output_dim": HIDDEN,
            "vision_config.vision_output_dim": HIDDEN,
            "vision_config.intermediate_size": 4 * HIDDEN,
        },
        config_tokens={"image_token_index": "<|patch|>"},
    ),
    "idefics3": Changes(images=SPLIT, processor={"image_seq_len": 4}),
    "smolvlm": Changes(images=SPLIT, processor={"image_seq_len": 4}),
    "granite_docling": Changes(processor={"image_seq_len": 1}),
    "internvl": Changes(FOUR, processor=FOUR),
    "qianfan_ocr": Changes(FOUR, processor=FOUR, marker="<image>"),
    "llava_next": Changes(ANYRES, images=ANYRES),
    "llava_next_video": Changes(ANYRES, images=ANYRES),
    "llava_onevision": Changes(ANYRES, images=ANYRES, processor={"num_image_tokens": 16}),
    "lfm3_vl": CONVOLVED,
    "janus": SIXTEEN,
    "deepseek_vl": SIXTEEN,
    "lfm2_vl": Changes(
        {**CONVOLVED.config, "vision_config.num_patches": 16},
        images={
            "tile_size": IMAGE,
            "encoder_patch_size": PATCH,
            "max_num_patches": 16,
            "min_image_tokens": 1,
            "max_image_tokens": 4,
        },
    ),
    "vipllava": Changes(
        {"vision_feature_layers": [-1, -2], "vision_feature_layer": [-1, -2]},
        processor={"vision_feature_select_strategy": "default"},
    ),
    "got_ocr2": Changes(
        {"vision_config.image_size": 256, "vision_config.patch_size": 4, "vision_config.global_attn_indexes": []},
        images={"size": {"height": 256, "width": 256}},
    ),
    "gemma4": Changes(
        {"vision_config.hidden_size": HIDDEN},
        images={"max_soft_tokens": 70},
        processor={"image_seq_length": 70},
        tokens=GEMMA4,
    ),
    "qwen4_exp": Changes(
        {
            **MIXED.config,
            "text_config.hc_lowrank": HIDDEN,
            "text_config.indexer_n_heads": 2,
            "text_config.indexer_kv_heads": 1,
            "text_config.indexer_head_dim": HEAD,
            "text_config.indexer_budget": 64,
            "text_config.indexer_compress_ratio": 4,
        }
    ),
    **dict.fromkeys(("qwen3_5", "qwen3_5_moe", "minicpm_ocr", "minicpmv4_6", "minicpmv4_7"), MIXED),
    "kimi_k25": Changes({"text_config.head_dim": 8, "text_config.num_key_value_heads": 4}),
    "ovis2": Changes(processor={"image_seq_length": 16}, config_tokens={"image_token_id": "<IMG_ATOM>"}),
    "glm5_next": Changes(
        {
            "text_config.num_key_value_heads": 4,
            "text_config.qk_rope_head_dim": 0,
            **MIXED.config,
            "text_config.linear_head_dim": HEAD,
            "text_config.linear_num_heads": 4,
        }
    ),
    "qwen2_5_omni_thinker": Changes(M_ROPE.config, sibling="qwen2_5_omni", config_tokens=OMNI),
    "qwen3_omni_moe_thinker": Changes(sibling="qwen3_omni_moe", config_tokens=OMNI),
    "muse_glimmer": Changes({"out_hidden_size": 4 * HIDDEN}),
    "molmo2": Changes(images={"overlap_margins": [1, 1]}, config_tokens={"image_patch_id": "<im_patch>"}),
    "minimax_m3_vl": Changes(
        tokens={
            "an_image_token": "]<]image[>[",
            "a_start_token": "]<]start of image[>[",
            "an_end_token": "]<]end of image[>[",
        },
        config_tokens={"image_token_index": "]<]image[>["},
    ),
    "perception_lm": Changes(
        {
            "projector_pooling_ratio": 2,
            "vision_config.architecture": "vit_pe_core_large_patch14_336",
            "vision_config.model_args": {
                "embed_dim": HIDDEN,
                "img_size": [IMAGE, IMAGE],
                "depth": 2,
                "num_heads": 4,
                "global_pool": "",
                "ref_feat_shape": [4, 4],
                "use_post_transformer_norm": False,
            },
        },
        images={"tile_size": IMAGE, "max_num_tiles": 4},
    ),
    "paligemma": Changes(tokens={"image_token": "<image>"}, images={"image_seq_length": 16}),
    "fuyu": Changes(
        {"patch_size": 30, "image_size": 60},
        images={"size": {"height": 60, "width": 90}, "patch_size": {"height": 30, "width": 30}},
        tokens={"speaker_token": "|SPEAKER|", "newline_token": "|NEWLINE|"},
        marker="\n",
    ),
    "glm4v_moe": Changes(HALF_ROPE.config, sibling="glm4v"),
    "glm_ocr": Changes(HALF_ROPE.config, sibling="glm46v"),
    "glmga": Changes(HALF_ROPE.config, sibling="glm46v"),
    "qwen3_vl_moe": Changes(sibling="qwen3_vl"),
    "gemma4_unified": Changes(
        {"vision_config.hidden_size": HIDDEN},
        images={"max_soft_tokens": 70},
        processor={"image_seq_length": 70},
        tokens=GEMMA4,
    ),
    "cosmos3_omni": Changes(sibling="qwen3_vl"),
    "diffusion_gemma": Changes(
        {
            "text_config.num_experts": 4,
            "text_config.top_k_experts": 2,
            "text_config.moe_intermediate_size": HIDDEN,
            "vision_config.hidden_size": HIDDEN,
        },
        images={"max_soft_tokens": 70},
        processor={"image_seq_length": 70},
        sibling="gemma4",
        tokens=GEMMA4,
    ),
    "chameleon": Changes(
        {**CODEBOOK, "vq_config.num_embeddings": 8},
        processor={"image_seq_length": 49},
        codebook=tuple(f"IMGIMG{letter}Z" for letter in "ABCDEFGH"),
    ),
    "emu3": Changes(
        {**CODEBOOK, "vq_config.codebook_size": 8, "vq_config.embed_dim": 4, "vq_config.latent_channels": 4}
        | {"vq_config.hidden_size": 32, "vq_config.num_attention_heads": 1},
        images={"min_pixels": 16 * 16, "max_pixels": 48 * 48},
        tokens={"image_token": "<image>"},
        codebook=("<|extra_200|>", *(f"<|visual token {number:06}|>" for number in range(8))),
    ),
    "cohere_compass": Changes(
        {"text_config.rope_parameters": {"full_attention": ROPE}, "text_config.layer_types": ["full_attention"] * 2}
    ),
    "deepseek_ocr2": Changes(
        {
            "text_config.mlp_layer_types": ["dense", "sparse"],
            "text_config.num_experts_per_tok": 2,
            "vision_config.sam_config.downsample_channels": [HIDDEN, HIDDEN],
            "vision_config.sam_config.image_size": 48,
            "vision_config.sam_config.patch_size": 4,
        },
        images={"size": {"height": 48, "width": 48}, "tile_size": 48},  # always 144 vectors a tile
        processor={"patch_size": 1, "downsample_ratio": 4},
    ),
    "ernie4_5_vl_moe": Changes(
        {"text_config.rope_parameters": {**ROPE, "mrope_section": [3, 3, 2]}}, videos={"draw_on_frames": False}
    ),
    "dots3_note": Changes(
        {
            "text_config.num_key_value_heads": 4,
            "vision_config.pyramid_num_routed": [-1, 4],
            "vision_config.per_layer_config": ...,
        },
        images={"temporal_patch_size": 1},
    ),
    "inkling2": Changes(images={"size": {"height": 2 * PATCH, "width": 2 * PATCH}}),
    "inkling_mm_model": Changes(
        {"vision_config.patch_size": 2 * PATCH}, images={"size": {"height": 2 * PATCH, "width": 2 * PATCH}}
    ),
    "step3p7": Changes({"text_config.sliding_window": 16}, images={"patch_size": IMAGE}),
    "granite4_vision": Changes(
        {
            **ANYRES,
            "downsample_rate": "1/2",
            "deepstack_layer_map": [[-2, 0], [-1, 1]],
            "spatial_target_layers": [0, 0, 1, 1],
        },
        images=ANYRES,
        processor={"downsample_rate": "1/2"},
    ),
    **dict.fromkeys(
        ("instructblip", "instructblipvideo"),
        Changes(processor={"num_query_tokens": 32}, tokens={"image_token": ...}, marker="\n"),
    ),
    "hunyuan_vl": Changes(
        {"text_config.head_dim": HEAD, "text_config.rope_parameters": ROPE},
        marker="<image_start_token><image_token><image_end_token>",
    ),
    "deepseek_vl_hybrid": Changes(
        {"high_res_vision_config.image_size": 2 * IMAGE, "high_res_vision_config.global_attn_indexes": [1]},
        images={"high_res_size": {"height": 2 * IMAGE, "width": 2 * IMAGE}},
        processor={"num_image_tokens": 16},
    ),
    "fast_vlm": Changes(
        {
            "vision_config.architecture": "fastvit_mci3",
            "vision_config.hidden_size": HIDDEN,
            "vision_config.model_args": {"layers": [1, 1, 1, 1, 1], "embed_dims": [32, 32, 32, 32, HIDDEN // 2]},
        },
        images={"size": {"shortest_edge": 128}, "crop_size": {"height": 128, "width": 128}},
        processor={"patch_size": 64, "vision_feature_select_strategy": "full", "num_additional_image_tokens": 0},
        sibling="llava",
    ),
    "gemma3n": Changes(
        {
            "text_config.num_hidden_layers": 4,
            "text_config.num_kv_shared_layers": 2,
            "text_config.intermediate_size": [2 * HIDDEN] * 4,
            "text_config.layer_types": ["sliding_attention", "full_attention"] * 2,
            "text_config.activation_sparsity_pattern": [0.0] * 4,
            "vision_config.hidden_size": 2048,
            "vision_config.model_args": {"channel_multiplier": 0.125},
        },
    ),
    "kosmos-2": Changes(processor_class="Kosmos2Processor"),
    "kosmos-2.5": Changes(
        {"latent_query_num": 16, "vision_config.num_attention_heads": 1, "vision_config.num_hidden_layers": 1},
        images={"max_patches": 64},
        processor={"num_image_tokens": 16},
        processor_class="Kosmos2_5Processor",
    ),
    "muse_spark": Changes(
        {
            "out_hidden_size": 4 * HIDDEN,
            "audio_config.num_hidden_layers": 4,
            "audio_config.hidden_sizes": [8, 8, 8, 8],
            "audio_config.depths": [1, 1, 1, 1],
        }
    ),
    "nemotron_h_omni": Changes(
        {"vision_config.video_temporal_patch_size": 2, "vision_hidden_size": HIDDEN},
        images={"min_num_patches": 4, "max_num_patches": 16},
        pieces={"feature_extractor": "parakeet_ctc"},
    ),
    "unlimited_ocr": Changes({"vision_config.sam_config.downsample_channels": [HIDDEN, HIDDEN]}),
    "evolla": Changes(config_alone=True),
    "mistral4": Changes(config_alone=True),
    "vision-encoder-decoder": Changes(
        {"encoder": {"model_type": "vit"}, "decoder": {"model_type": "gpt2"}, "is_encoder_decoder": True},
        config_alone=True,
    ),
}


def changes_of(name: str) -> Changes:
    """Those of a family; none for most."""
    return CHANGES.get(name, Changes())
