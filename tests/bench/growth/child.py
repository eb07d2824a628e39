"""Runs the `main` of a step on one core and prints, behind an `@`, what it cost or how often functions were called.

python -m tests.bench.growth.child CORE time|count MODULE FLAGS
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
from pathlib import Path
from resource import RUSAGE_CHILDREN, RUSAGE_SELF, getrusage
from types import ModuleType

TRAIN = "finetune.train"
OF_TRAIN = ("finetune.setup.build", "transformers.models.llama.modeling_llama", "transformers.models.clip")
OF_TRANSFORMERS = ("CLIPVisionModel", "LlamaForCausalLM")


def used() -> tuple[float, float]:
    """Processor seconds of this process and of those it waited for, and the most MiB that it held."""
    both = [getrusage(who) for who in (RUSAGE_SELF, RUSAGE_CHILDREN)]
    # Not ru_maxrss, which begins with what the process held that started this one.
    held = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return sum(one.ru_utime + one.ru_stime for one in both), int(held.split()[1]) / 1024


def imported(name: str) -> ModuleType:
    """A step's module, with what training's `main` imports only when it needs it."""
    module = importlib.import_module(name)
    if name == TRAIN:
        for other in OF_TRAIN:
            importlib.import_module(other)
        for model in OF_TRANSFORMERS:
            getattr(importlib.import_module("transformers"), model)
    return module


def counted(module: ModuleType) -> dict[str, float]:
    """The function calls of its `main`."""
    import cProfile
    import pstats

    profile = cProfile.Profile()
    profile.runcall(module.main)
    return {"calls": vars(pstats.Stats(profile))["total_calls"]}


def timed(module: ModuleType) -> dict[str, float]:
    """Processor seconds, seconds on the clock and MiB of its `main`."""
    begun, before = time.perf_counter(), used()[0]
    module.main()
    seconds, mib = used()
    return {"cpu": seconds - before, "clock": time.perf_counter() - begun, "mib": mib}


def main() -> None:
    """Hold this process to the core, import the step, and run it as if its flags were this process's."""
    _, core, what, name, *flags = sys.argv
    os.sched_setaffinity(0, [int(core)])
    module = imported(name)
    sys.argv = [name, *flags]
    found = counted(module) if what == "count" else timed(module)
    print("\n@" + json.dumps(found))


if __name__ == "__main__":
    main()
