"""What the valid files of several readers hold."""

from __future__ import annotations

import json
from typing import Any

NAME = "COCO_val2014_000000000042.jpg"
CAPTION = "A dog lies on a red bench, and a cat sits beside it."
CAPTIONS = [
    {"image": NAME, "image_id": 42, "caption": CAPTION},
    {"image": NAME, "image_id": 42, "caption": "A dog.", "sample": 1},
    {"image_id": "COCO_val2014_000000000007.jpg", "text": "A cat and a bus."},
]
TURNS = [
    {"from": "system", "value": "Be short."},
    {"from": "human", "value": "<image>\nWhat?"},
    {"from": "gpt", "value": "A harbor."},
]


def json_file(value: Any) -> bytes:
    """One JSON value."""
    return (json.dumps(value, indent=1) + "\n").encode()


def json_lines(*rows: Any) -> bytes:
    """One row a line."""
    return "".join(json.dumps(row) + "\n" for row in rows).encode()
