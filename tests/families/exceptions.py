"""What single families need beyond what follows from their classes: sizes that must fit together, markers, siblings."""

from __future__ import annotations

from collections.abc import Mapping

from tests.families.building import Changes
from tests.families.shrinking import HIDDEN, IMAGE, PATCH

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
        {"vision_config.num_patches": 16},
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
        {"vision_config.image_size": 1024, "vision_config.patch_size": 16},
        images={"size": {"height": 1024, "width": 1024}},
    ),
    "gemma4": Changes(
        {"vision_config.hidden_size": HIDDEN},
        images={"max_soft_tokens": 70},
        processor={"image_seq_length": 70},
        tokens=GEMMA4,
    ),
    **dict.fromkeys(("qwen3_5", "qwen3_5_moe", "qwen4_exp", "minicpm_ocr", "minicpmv4_6", "minicpmv4_7"), MIXED),
    "kimi_k25": Changes({"text_config.head_dim": 8, "text_config.num_key_value_heads": 4}),
    "ovis2": Changes(processor={"image_seq_length": 16}, config_tokens={"image_token_id": "<IMG_ATOM>"}),
    "glm5_next": Changes({"text_config.num_key_value_heads": 4, "text_config.qk_rope_head_dim": 0}),
    "dots3_note": Changes({"text_config.num_key_value_heads": 4}),
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
    "fuyu": Changes(tokens={"speaker_token": "|SPEAKER|", "newline_token": "|NEWLINE|"}),
    "glm4v_moe": Changes(HALF_ROPE.config, sibling="glm4v"),
    "glm_ocr": Changes(HALF_ROPE.config, sibling="glm46v"),
    "glmga": Changes(HALF_ROPE.config, sibling="glm46v"),
    "qwen3_vl_moe": Changes(sibling="qwen3_vl"),
    "gemma4_unified": Changes({"vision_config.hidden_size": HIDDEN}, tokens=GEMMA4),
    "cosmos3_omni": Changes(sibling="qwen3_vl"),
    "diffusion_gemma": Changes(sibling="gemma4", tokens=GEMMA4),
    "fast_vlm": Changes(sibling="llava"),
    "shieldgemma2": Changes(impossible="its model classifies pictures and writes no text"),
    "evolla": Changes(impossible="its own config class is not the one that transformers registers; it takes proteins"),
    "mistral4": Changes(impossible="transformers has no processor for it: a text model"),
}


def changes_of(name: str) -> Changes:
    """Those of a family; none for most."""
    return CHANGES.get(name, Changes())
