"""Answers of models that think first: what they say is what stands behind the thought."""

from __future__ import annotations

# How thoughts begin and end: Qwen, GLM, DeepSeek and InternVL; Kimi; Mistral; Gemma 4; others.
MARKS = (
    ("<think>", "</think>"),
    ("◁think▷", "◁/think▷"),
    ("[THINK]", "[/THINK]"),
    ("<|channel>", "<channel|>"),
    ("<thinking>", "</thinking>"),
)
# What GLM and Hunyuan put around what they say behind a thought.
FRAMES = (("<answer>", "</answer>"), ("<|begin_of_box|>", "<|end_of_box|>"))


def after_thought(text: str) -> str:
    """The text behind the last thought; "" for a thought that has not ended, the text itself where there is none."""
    for begins, ends in MARKS:
        _, found, after = text.rpartition(ends)
        if found or text.lstrip().startswith(begins):
            return _framed(after.strip()) if found else ""
    return _framed(text)


def _framed(text: str) -> str:
    """What stands in a frame, if all of the text does; the end of one may have been cut off."""
    for begins, ends in FRAMES:
        if text.lstrip().startswith(begins):
            return text.lstrip().removeprefix(begins).partition(ends)[0].strip()
    return text


def closed(text: str) -> str:
    """A prompt whose template begins a thought, with that thought ended, so that an answer follows."""
    for begins, ends in MARKS:
        if text.rfind(begins) > text.rfind(ends):
            return f"{text.rstrip()}\n\n{ends}\n\n"
    return text
