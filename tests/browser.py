"""A headless Chromium for tests of pages: Debian's, or another that is installed; tests are skipped without one."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")
SETTLED = "new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"


@dataclass
class Opened:
    """A page in the browser, and everything that it should not do.

    Attributes:
        page: of playwright.
        trouble: errors and warnings of its console, and dialogs.
        asked: addresses that it asked for, its own and data aside.
    """

    page: Any
    trouble: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def evaluate(self, script: str) -> Any:
        """The value of an expression in the page."""
        return self.page.evaluate(script)

    def settle(self) -> None:
        """Wait until what was asked for is painted."""
        self.page.evaluate(SETTLED)

    def press(self, *keys: str) -> None:
        """Press keys one after the other."""
        for key in keys:
            self.page.keyboard.press(key)
        self.settle()

    def serious(self) -> list[str]:
        """What axe-core finds to be serious or critical, as 'rule: element'."""
        from axe_playwright_python.sync_playwright import Axe

        found = Axe().run(self.page).response["violations"]
        return [
            f"{one['id']}: {node['html'][:150]} {node.get('failureSummary', '')[:200]}"
            for one in found
            if one["impact"] in ("serious", "critical")
            for node in one["nodes"][:3]
        ]


@contextmanager
def browser() -> Iterator[Any]:
    """A browser; skips the test where there is none."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        pytest.skip(f"no browser is installed (looked for {', '.join(NAMES)}): apt-get install chromium")
    with playwright.sync_playwright() as driver:
        running = driver.chromium.launch(executable_path=path, args=["--no-sandbox"])
        try:
            yield running
        finally:
            running.close()


@contextmanager
def opened(running: Any, path: Path, width: int = 1400, dark: bool = False, hash_: str = "") -> Iterator[Opened]:
    """A file in a window of this width, under its own content security policy."""
    scheme = "dark" if dark else "light"
    context = running.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    found = Opened(context.new_page())
    own = path.resolve().as_uri()
    found.page.on("console", lambda m: found.trouble.append(m.text) if m.type in ("error", "warning") else None)
    found.page.on("pageerror", lambda error: found.trouble.append(str(error)))
    found.page.on("dialog", lambda dialog: (found.trouble.append(dialog.message), dialog.dismiss()))
    found.page.on("request", lambda r: None if r.url.startswith((own, "data:")) else found.asked.append(r.url))
    found.page.goto(own + hash_)
    yield found
    context.close()
