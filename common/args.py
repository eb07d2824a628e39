"""Arguments: typed groups, read from the command line or a YAML file with the same names (`common/arguments/`).

A script calls :func:`parse` with just the groups that it uses. `--config run.yaml` gives values, the command line
wins. An unknown flag or key is an error that suggests the nearest one.
"""

from common.arguments.fields import flag, seed_flag
from common.arguments.groups import (
    MODEL_FAMILIES,
    GenerationArguments,
    ImageArguments,
    ModelArguments,
    RunArguments,
    ThresholdArguments,
)
from common.arguments.parsing import parse

__all__ = [
    "MODEL_FAMILIES",
    "GenerationArguments",
    "ImageArguments",
    "ModelArguments",
    "RunArguments",
    "ThresholdArguments",
    "flag",
    "parse",
    "seed_flag",
]
