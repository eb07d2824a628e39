"""Flags of the published code that are not named so here, and what became of each. Data, in one place.

`docs/published_flags.md` is this table for readers; a test keeps the two alike. A flag that a script has under its
published name is not looked up here.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from common.arguments.values import Given
from common.progress import announce

VALUE = "{}"  # in a replacement: the value that was given


@dataclass(frozen=True)
class Fate:
    """What became of a published flag.

    Attributes:
        now: flag -> value of it here, with `{}` for the given value; none: the flag has no counterpart.
        why: what replaces it, or why it changes nothing, for the reader.
        harmless: without a counterpart, it is passed over with a word rather than refused.
        only: values for which it is passed over; with any other it is refused.
    """

    now: Mapping[str, str] | None = None
    why: str = ""
    harmless: bool = False
    only: tuple[str, ...] = ()


def _to(*names: str, why: str = "") -> Fate:
    return Fate(dict.fromkeys(names, VALUE), why)


_MERGED = Fate(why="the merged checkpoint of that model: give its folder with --llava_path (or --owl_path)")
_LANGUAGE_MODEL = Fate(
    why="a language model's own chat template is used; the instruction is dataset/object_instruction.txt"
)
_NO_ARRAYS = Fate(why="scores stand beside their objects in the file of --score_data_path, not in arrays")
_SEPARATORS = Fate(why="files are JSON Lines; the published text form is read with its own separators")
_VQA = Fate(why="VQAv2 and TextVQA are not computed here; see evaluate/README.md for what is")
_ANSWERS = Fate(
    why="--answers_save_path and --result_path name the files; by default they lie in results/, by --run_name"
)

FATES: Mapping[str, Fate] = {
    # data
    "llava_data_path": _to("gold_data_path"),
    "llava_data_size_k": Fate({"gold_size": "{}000"}, "in records, not thousands"),
    "vqa_data_path": Fate(why="--gold_data_path takes LLaVA's JSON itself; no converted copy is made"),
    "vqa_image_dir": _to("gold_image_dir_path"),
    "object_extract_prompt_path": _LANGUAGE_MODEL,
    "hal_result_path": _NO_ARRAYS,
    "norm_result_path": _NO_ARRAYS,
    "image_prefix": Fate(why="files name their images in full", harmless=True),
    "column_splitter": _SEPARATORS,
    "object_splitter": _SEPARATORS,
    "subsentence_splitter_set": Fate(
        why="sub-sentences end at the published marks, read with care: finetune/README.md"
    ),
    # objects by a language model
    "llama_path": Fate({"extractor": "llm", "extractor_model": VALUE}),
    "llama_8bit": Fate(why="the language model is loaded in bfloat16 on a GPU; give a smaller or quantised one"),
    "llama_instruction_placeholder": _LANGUAGE_MODEL,
    "llama_sys_prompt": _LANGUAGE_MODEL,
    "prompt_input_label": _LANGUAGE_MODEL,
    "prompt_output_label": _LANGUAGE_MODEL,
    # scores
    "patch_size": _to("clip_patch"),
    "window_size": _to("clip_span"),
    "average_top_k": _to("clip_best"),
    "least_data_size": Fate(why="both densities are drawn from all scores, whatever their number", harmless=True),
    "sample_policy": Fate(why="both densities are drawn from all scores, none are drawn at random", harmless=True),
    # training
    "gold_clip_score": Fate(why="fixed at the published 40 (with --score_weights)", only=("40", "40.0")),
    "print_per_n_step": _to("logging_steps"),
    "eval_per_epoch": Fate(why="--eval_steps N, in steps; by default four times a run", only=("4",)),
    "no_first_eval": Fate(why="the first validation is after a quarter of the run, not before it", harmless=True),
    "skip_oom_batch": Fate(why="--tokens_per_batch bounds the memory, so that nothing is skipped"),
    "vram_placeholder": Fate(why="memory is taken when it is needed", harmless=True),
    "train_bs_total": Fate(
        why="--train_bs (images a step), or --train_bs_pos, _neg, _sent, _gold with --sampling paper"
    ),
    "train_dataloader_worker": _to("num_workers"),
    "train_dtype_str": Fate(
        {"dtype": VALUE}, "of the frozen weights; --paper_numerics trains in pure bfloat16, as published"
    ),
    "proxy": Fate(why="the environment's http_proxy and https_proxy are respected"),
    # asking models
    "infer_bs_multiply": Fate(why="--infer_bs N, the images in one batch"),
    "infer_bs_total": _to("infer_bs"),
    "infer_dataloader_worker": Fate(why="images are read ahead as it is", harmless=True),
    "infer_retry": Fate(why="a blank answer is kept: asked again it would be the same", harmless=True),
    "generate_length_penalty": _to("length_penalty"),
    "generate_temperature": Fate(
        why="beam search and greedy decoding have none; --temperature with --do_sample in insight/caption.py",
        only=("0", "0.0", "1", "1.0"),
    ),
    "default_eval_samples": Fate({"end_pos": VALUE}, "of the benchmarks, which are asked in full by default"),
    # models
    "minigpt_infer_cfg": _to("minigpt_train_cfg", why="one config for both"),
    "owllrv_path": _MERGED,
    "owllrv_ckpt_load_path": _MERGED,
    "owllrv_ckpt_save_path": _MERGED,
    "owllrv_lora_path": _MERGED,
    "llavapovid_path": _MERGED,
    "llavapovid_base": _MERGED,
    "llavapovid_ckpt_load_path": _MERGED,
    "llavahadpo_path": _MERGED,
    "llavahadpo_ckpt_load_path": _MERGED,
    "llavahadpo_ckpt_save_path": _MERGED,
    "llava_lora_path": _MERGED,
    "llavarlhf_path": _MERGED,
    "llavarlhf_ckpt_load_path": _MERGED,
    "llavarlhf_ckpt_save_path": _MERGED,
    "llavarlhf_vit_path": _to("llava_vit_path"),
    # benchmarks
    "mme_data_path": Fate({"question_path": VALUE, "image_dir_path": VALUE}),
    "gqa_data_path": Fate(
        {"question_path": "{}/questions1.2/testdev_balanced_questions.json", "image_dir_path": "{}/images"}
    ),
    "sqa_data_path": Fate({"question_path": "{}/llava_test_CQM-A.json", "image_dir_path": "{}/ScienceQA_DATA/test"}),
    "qbench_data_path": Fate({"question_path": "{}/llvisionqa_dev.json", "image_dir_path": "{}/images"}),
    "pope_result_path": _ANSWERS,
    "mme_result_path": _ANSWERS,
    "sqa_result_path": _ANSWERS,
    "qbench_result_path": _ANSWERS,
    "vqa_result_path": _VQA,
    "vqa_question_path": _VQA,
    "vqa_annotation_path": _VQA,
    "tqa_data_path": _VQA,
    "tqa_result_path": _VQA,
}


def strangers(names: Collection[str], known: Collection[str]) -> list[str]:
    """Of the names those of published flags that the script does not have itself."""
    return [name for name in names if name not in known and name in FATES]


def translated(given: Mapping[str, Given], known: Collection[str]) -> dict[str, Given]:
    """The same with published flags under their present names, each said in one line.

    Args:
        given: by flag; those that neither the script nor the published code knows have been refused.
        known: the script's own flags. What is given under both names has the present one's value.

    Raises ArgumentError for a published flag that has no counterpart in this script, saying what replaces it.
    """
    found = {name: value for name, value in given.items() if name in known}
    for name in strangers(given, known):
        for new, value in _now(name, given[name], known).items():
            found.setdefault(new, value)
    return found


def _now(name: str, given: Given, known: Collection[str]) -> dict[str, Given]:
    fate = FATES[name]
    if fate.now is not None and all(new in known for new in fate.now):
        value = given.texts[0] if given.texts else ""
        texts = {new: template.replace(VALUE, value) for new, template in fate.now.items()}
        announce(f"--{name} is {' '.join(f'--{new} {text}' for new, text in texts.items())} here")
        return {new: Given((text,) if given.texts else (), given.source) for new, text in texts.items()}
    if fate.harmless or (given.texts and given.texts[0] in fate.only):
        announce(f"--{name} changes nothing here: {fate.why}")
        return {}
    if fate.now is not None:
        instead = " ".join(f"--{new}" for new in fate.now)
        raise given.refuse(
            f"--{name} of the published code is {instead}, which this script does not take; leave it out"
        )
    raise given.refuse(f"--{name} of the published code is not taken; instead: {fate.why}")
