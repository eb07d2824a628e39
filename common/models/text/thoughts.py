"""Answers of models that think first: what they say is what stands behind the thought."""

from __future__ import annotations

# How thoughts begin and end: Qwen, GLM, DeepSeek and InternVL; Kimi; Mistral; others.
MARKS = (("<think>", "</think>"), ("◁think▷", "◁/think▷"), ("[THINK]", "[/THINK]"), ("<thinking>", "</thinking>"))


def after_thought(text: str) -> str:
    """The text behind the last thought; "" for a thought that has not ended, the text itself where there is none."""
    for begins, ends in MARKS:
        _, found, after = text.rpartition(ends)
        if found or text.lstrip().startswith(begins):
            return after.strip() if found else ""
    return text


def closed(text: str) -> str:
    """A prompt whose template begins a thought, with that thought ended, so that an answer follows."""
    for begins, ends in MARKS:
        if text.rfind(begins) > text.rfind(ends):
            return f"{text.rstrip()}\n\n{ends}\n\n"
    return text
