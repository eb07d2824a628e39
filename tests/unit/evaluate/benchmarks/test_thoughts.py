"""Answers of models that think first are what stands behind the thought, in every yes-no and choice benchmark."""

from __future__ import annotations

import pytest

from common.models.text.thoughts import after_thought, closed
from evaluate.answers.values import answer_text


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        ("<think>Is there a dog? Yes, perhaps.</think>\n\nNo", "No"),
        ("Yes, at first sight.\n</think>\nno.", "no."),  # the template began the thought
        ("<think>\n\n</think>\n\nYes", "Yes"),
        ("◁think▷yes◁/think▷No", "No"),
        ("[THINK]no[/THINK]Yes", "Yes"),
        ("<think>a</think>b<think>c</think>Yes", "Yes"),
        ("<|channel>thought\nYes?<channel|>No", "No"),  # Gemma 4
        ("<think>Yes?</think><answer>No</answer>", "No"),  # GLM-4.1V, Hunyuan
        ("<think>no</think>\n<|begin_of_box|>Yes<|end_of_box|>", "Yes"),  # GLM-4.5V
        ("<answer>Yes", "Yes"),
        ("I think so, yes", "I think so, yes"),
        ("  Yes ", "  Yes "),
    ],
)
def test_the_answer_stands_behind_the_thought(said: str, answer: str) -> None:
    assert answer_text(said, "line 1", "answer", yes_no=True) == answer


@pytest.mark.parametrize("said", ["<think>yes, there is", "<think>yes</think>", "<think>yes</think> \n"])
def test_a_thought_alone_is_no_answer(said: str) -> None:
    assert answer_text(said, "line 1", "answer", yes_no=True) is None
    assert after_thought(said) == ""


def test_a_prompt_that_begins_a_thought_is_closed() -> None:
    assert closed("assistant\n<think>\n") == "assistant\n<think>\n\n</think>\n\n"
    assert closed("assistant\n<think>\n\n</think>\n\n") == "assistant\n<think>\n\n</think>\n\n"
    assert closed("assistant\n") == "assistant\n"
