"""The house keeps its plan: small folders, short chains of imports, no circles, one opening sentence a room."""

from __future__ import annotations

import ast
import re
import sys
from collections import Counter
from pathlib import Path

import pytest

from common.paths import ROOT
from tests.floor_plan import PACKAGES, ROOMS, circle, files_per_folder, imports, inside, longest_chain

WITH_SCRIPTS = {"evaluate", "insight", "finetune", "dataset", "dataset/mini", "deploy"}
SCRIPTS = [  # folders of what is run as a file, which Python then looks into first
    *(ROOT / folder for folder in sorted(WITH_SCRIPTS)),
    ROOT / "tests" / "bench",
]
PAGES = [  # of the repository: what a user keeps beside them is not looked at
    *(ROOT / name for name in ("README.md", "checkpoints/README.md")),
    *ROOT.glob("checkpoints/mini-*/README.md"),
    *(page for folder in (*PACKAGES, "docs", "tests") for page in (ROOT / folder).rglob("*.md")),
]
READMES = [page for page in PAGES if page.name == "README.md"]


def test_folders_are_small() -> None:
    crowded = {folder: count for folder, count in files_per_folder(ROOT).items() if count > 13}
    assert not {folder: count for folder, count in crowded.items() if folder not in WITH_SCRIPTS}
    assert max(crowded.values(), default=0) <= 16


def test_folders_of_tests_are_small() -> None:
    """Of benches, every command is a file of its own."""
    folders = Counter(path.parent.relative_to(ROOT) for path in (ROOT / "tests").rglob("*.py"))
    assert {str(folder) for folder, files in folders.items() if files > 13} <= {"tests/bench"}
    assert max(folders.values()) <= 18


@pytest.mark.parametrize("room", ROOMS)
def test_chains_are_short(room: str) -> None:
    assert len(longest_chain(inside(room, imports(executed_only=True)))) <= 6


def test_nothing_goes_round_not_even_for_types() -> None:
    assert circle(imports(executed_only=False)) == []


def test_a_chain_and_a_circle_are_found() -> None:
    graph: dict[str, set[str]] = {"a": {"b", "c"}, "b": {"c"}, "c": set()}
    assert longest_chain(graph) == ["a", "b", "c"] and circle(graph) == []
    assert {"a", "c"} <= set(circle(graph | {"c": {"a"}}))


def test_every_room_says_what_it_is() -> None:
    silent = [
        str(path.parent.relative_to(ROOT))
        for package in PACKAGES
        for path in (ROOT / package).rglob("__init__.py")
        if not ast.get_docstring(ast.parse(path.read_text()))
    ]
    assert not silent


def test_no_file_is_named_after_nothing() -> None:
    names = {path.stem for package in PACKAGES for path in (ROOT / package).rglob("*.py")}
    assert names.isdisjoint({"utils", "util", "helpers", "helper", "misc", "common"})


@pytest.mark.parametrize("folder", SCRIPTS, ids=str)
def test_no_file_beside_a_script_takes_the_name_of_a_module_of_python(folder: Path) -> None:
    assert {path.stem for path in folder.iterdir()}.isdisjoint(sys.stdlib_module_names - {"__init__"})


@pytest.mark.parametrize("readme", READMES, ids=str)
def test_readmes_name_files_that_are_there(readme: Path) -> None:
    """Of code, in backticks: from the repository's root, or from the README's folder."""
    named = set(re.findall(r"`([\w/]+\.py)`", readme.read_text()))
    assert not {name for name in named if not (ROOT / name).exists() and not (readme.parent / name).exists()}


def anchors(page: Path) -> set[str]:
    """What its headings are called in links."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    """To a file or folder of the repository and, where they name one, to a heading of it."""
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if re.match(r"[a-z]+:", link):
            continue
        name, _, heading = link.partition("#")
        target = (page.parent / name) if name else page
        assert target.exists(), link
        assert not heading or heading in anchors(target / "README.md" if target.is_dir() else target), link
