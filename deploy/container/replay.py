"""Replay the Dockerfile's lines in a clean root, where there is no container engine.

    python -m deploy.container.replay /tmp/efuf-root [--mirror http://deb.debian.org/debian] [--smoke]

Needs root and debootstrap. The base image is stood in for by Debian bookworm with its own Python 3.11, so what is tried
is everything above it: RUN in a chroot, COPY, ENV, USER and WORKDIR as they say. With --smoke the checkout's committed
files are put where they would be mounted, and a few commands are run as the image's user.
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from common.errors import DataError
from common.paths import ROOT

DOCKERFILE = ROOT / "deploy" / "Dockerfile"
BASE = {"python:3.11-slim-bookworm": ("bookworm", ("ca-certificates", "python3", "python3-venv", "python3-dev"))}
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
FROM_HOST = ("/etc/resolv.conf", "/etc/ssl/certs/ca-certificates.crt")
SMOKE = (
    "python -c 'import torch; print(torch.__version__, torch.version.cuda)'",
    "python -c 'import triton, bitsandbytes, spacy, wandb; print(triton.__version__)'",
    "echo 'int main(void) { return 0; }' > /tmp/a.c && gcc -o /tmp/a.out /tmp/a.c && /tmp/a.out && echo gcc works",
    "id -un && python finetune/train.py --help | head -1",
    "python dataset/mini/draw.py --train_images 0 --eval_images 4 --output_dir /tmp/world",
    "python evaluate/eval_caption.py --image_dir_path /tmp/world/eval/images --caption_eval_path /tmp/c.jsonl "
    "--generate_num_beams 1 --max_new_tokens 30",
    "python evaluate/eval_auto.py --caption_eval_path /tmp/c.jsonl --annotation_path /tmp/world/eval/annotations "
    "| head -3",
)


@dataclass
class Image:
    """The root, and what earlier lines have set."""

    root: Path
    environment: dict[str, str] = field(default_factory=dict)
    user: str = "root"
    folder: str = "/"

    def run(self, command: str) -> None:
        """One shell command inside. Raises DataError if it fails."""
        variables = {"PATH": PATH, **self.environment}
        words = [
            shutil.which("chroot") or "/usr/sbin/chroot",
            *([f"--userspec={self.user}"] if self.user != "root" else []),
            str(self.root),
        ]
        shell = f"cd {shlex.quote(self.folder)} && {command}"
        if subprocess.run([*words, "/bin/sh", "-c", shell], env=variables, check=False).returncode != 0:
            raise DataError(f"in {self.root}: {command} failed")


def instructions(text: str) -> Iterator[tuple[str, str]]:
    """(instruction, rest) of each line of a Dockerfile, continued lines joined."""
    lines = (line for line in text.splitlines() if not line.lstrip().startswith("#"))
    joined = "\n".join(lines).replace("\\\n", " ")
    for line in filter(None, map(str.strip, joined.split("\n"))):
        word, _, rest = line.partition(" ")
        yield word.upper(), " ".join(rest.split())


def apply(image: Image, word: str, rest: str) -> None:
    """One instruction. Raises DataError for one that is not known here."""
    if word == "RUN":
        image.run(rest)
    elif word == "COPY":
        source, target = rest.split()
        shutil.copy(DOCKERFILE.parent / source, image.root / target.lstrip("/"))
    elif word == "ENV":
        for pair in shlex.split(rest):
            name, _, value = pair.partition("=")
            image.environment[name] = value.replace("$PATH", image.environment.get("PATH", PATH))
    elif word == "USER":
        image.user = rest
    elif word == "WORKDIR":
        image.folder = rest
        (image.root / rest.lstrip("/")).mkdir(parents=True, exist_ok=True)
    elif word != "CMD":
        raise DataError(f"{DOCKERFILE}: {word} is not known to the replay")


def base(image: Image, name: str, mirror: str) -> None:
    """Stand in for the base image."""
    suite, packages = BASE[name]
    command = ["debootstrap", "--variant=minbase", f"--include={','.join(packages)}", suite, str(image.root), mirror]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    for path in FROM_HOST:
        if Path(path).exists():
            shutil.copy(path, image.root / path.lstrip("/"))


def smoke(image: Image) -> None:
    """The commands of SMOKE on the committed files."""
    archive = subprocess.run(["git", "-C", str(ROOT), "archive", "HEAD"], check=True, capture_output=True).stdout
    subprocess.run(["tar", "-x", "-C", str(image.root / "workspace")], input=archive, check=True)
    proc = str(image.root / "proc")  # torch asks it for the processor
    subprocess.run(["mount", "-t", "proc", "proc", proc], check=True)
    try:
        for command in SMOKE:
            print(f"$ {command}", flush=True)
            image.run(command)
    finally:
        subprocess.run(["umount", proc], check=True)


def main(argv: Sequence[str] | None = None) -> None:
    """Replay all lines, each with its seconds."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("root", type=Path, help="folder of the clean root; must not exist")
    parser.add_argument("--mirror", default="http://deb.debian.org/debian")
    parser.add_argument("--smoke", action="store_true", help="run a few commands of the checkout in it")
    args = parser.parse_args(argv)
    if args.root.exists() or os.geteuid() != 0:
        sys.exit(f"{args.root} must not exist, and only root can fill it")
    image = Image(args.root)
    for word, rest in instructions(DOCKERFILE.read_text(encoding="utf-8")):
        start = time.perf_counter()
        if word == "FROM":
            base(image, rest, args.mirror)
        else:
            apply(image, word, rest)
        print(f"{word} {rest}: {time.perf_counter() - start:.0f} s", flush=True)
    if args.smoke:
        smoke(image)


if __name__ == "__main__":
    main()
