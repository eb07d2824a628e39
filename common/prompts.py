"""The instructions of each task, exactly as published (models wrap them in their own templates)."""

from __future__ import annotations

TRAIN = "Please describe the image."
CAPTION_EVAL = "Please describe the image in great detail. Your response should have at least 100 words."
GOLD = "{question}"
POPE = "According to the given image, answer yes or no to the question faithfully: {question}"
VQA = "{question}\nAnswer the question using a single word or phrase."
CHOICE = "{question}\nAnswer with the option's letter from the given choices directly."
MME = "{question}"
