"""The floor plan in figures: files of each folder, the longest chain of imports inside each room, circles, lines.

    python -m tests.floor_plan

A chain counts modules, over imports that are executed; circles are looked for among all imports, also those for types.
Layers are contracts of import-linter (`pyproject.toml`).
"""

from __future__ import annotations

from collections import Counter
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import grimp

PACKAGES = ("common", "finetune", "evaluate", "insight", "deploy", "dataset")
STANDING_ALONE = (
    "arguments",
    "captioning",
    "cards",
    "files",
    "models",
    "objects",
    "outputs",
    "page",
    "relevance",
    "samples",
)
IN_COMMON = tuple(f"common.{name}" for name in STANDING_ALONE)
ROOMS: dict[str, tuple[str, ...]] = {  # room -> rooms in it that stand for themselves
    **dict.fromkeys(
        (*PACKAGES, *IN_COMMON, "common.models.generation", "common.models.packed", "evaluate.report_page"), ()
    ),
    "common": IN_COMMON,
    "evaluate": ("evaluate.report_page",),
    "common.models": ("common.models.generation", "common.models.packed"),
}


def files_per_folder(root: Path) -> Counter[str]:
    """Python files of each folder of the rooms, `__init__.py` aside."""
    files = [path for package in PACKAGES for path in (root / package).rglob("*.py")]
    return Counter(str(path.parent.relative_to(root)) for path in files if path.name != "__init__.py")


def lines_of_code(root: Path) -> int:
    """Lines of all Python files of the rooms."""
    return sum(len(path.read_text().splitlines()) for package in PACKAGES for path in (root / package).rglob("*.py"))


def imports(executed_only: bool) -> dict[str, set[str]]:
    """Module -> modules of the project that it imports."""
    graph = grimp.build_graph(*PACKAGES, exclude_type_checking_imports=executed_only, cache_dir=None)
    return {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}


def inside(room: str, graph: dict[str, set[str]]) -> dict[str, set[str]]:
    """The part of the graph inside a room, without the rooms in it that stand for themselves."""
    chosen = {m for m in graph if _belongs(m, room) and not any(_belongs(m, other) for other in ROOMS[room])}
    return {module: graph[module] & chosen for module in chosen}


def _belongs(module: str, room: str) -> bool:
    return module == room or module.startswith(f"{room}.")


def longest_chain(graph: dict[str, set[str]]) -> list[str]:
    """Modules of the longest chain of imports. Raises CycleError for a circle."""
    best: dict[str, list[str]] = {}
    for module in TopologicalSorter(graph).static_order():
        below = max((best[other] for other in graph[module]), key=len, default=[])
        best[module] = [module, *below]
    return max(best.values(), key=len)


def circle(graph: dict[str, set[str]]) -> list[str]:
    """The modules of a circle, if there is one."""
    try:
        list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        return list(error.args[1])
    return []


def main() -> None:
    """Print the figures."""
    executed, every = imports(executed_only=True), imports(executed_only=False)
    for folder, count in sorted(files_per_folder(Path.cwd()).items()):
        print(f"{folder:36s} {count:3d} files")
    for room in ROOMS:
        found = circle(inside(room, executed))
        chain = [] if found else longest_chain(inside(room, executed))
        print(f"{room:14s} chain of {len(chain)}: {' > '.join(chain) or 'circle ' + ' > '.join(found)}")
    print(f"circle: {' > '.join(circle(every)) or 'none'}")
    print(f"{lines_of_code(Path.cwd())} lines")


if __name__ == "__main__":
    main()
