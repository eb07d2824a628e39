"""A page from a template: one HTML file with everything in it, which asks nothing of any network.

Jinja2 escapes whatever data bring along. Scripts are only those of the project: a content security policy names each
by its hash and forbids every request, so that even text that slipped through as markup could do nothing.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from common.page.visible_text import visible

PARTS = Path(__file__).parent / "parts"


@dataclass(frozen=True)
class Page:
    """What a page is made from.

    Attributes:
        template: file name, in `folder` or among the shared parts.
        maker: the script, as it is named in the file, by which the page is known as ours.
        folder: of the templates, styles and scripts of its own.
        styles, scripts: files that are put in after the shared ones.
        filters: functions that the template calls on its values.
    """

    template: str
    maker: str
    folder: Path
    styles: Sequence[str] = ()
    scripts: Sequence[str] = ()
    filters: Mapping[str, Callable[..., str]] = field(default_factory=dict)

    def render(self, **values: Any) -> str:
        """The whole file. Raises jinja2's errors for a template that asks for a value that is not given."""
        styles = [self._text(name) for name in ("page.css", "gallery.css", "charts.css", *self.styles)]
        scripts = [self._text(name) for name in ("page.js", "gallery.js", *self.scripts)]
        environment = Environment(
            loader=FileSystemLoader([self.folder, PARTS]),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        environment.filters |= {"visible": visible, "json_script": json_script, "grouped": grouped, **self.filters}
        return environment.get_template(self.template).render(
            maker=self.maker,
            policy=policy(scripts),
            styles=[Markup(text) for text in styles],
            scripts=[Markup(text) for text in scripts],
            **values,
        )

    def _text(self, name: str) -> str:
        """A file of the page's own, else of the shared parts."""
        own = self.folder / name
        return (own if own.is_file() else PARTS / name).read_text(encoding="utf-8")


def policy(scripts: Sequence[str]) -> str:
    """The content security policy under which these scripts run, and nothing else; no request goes anywhere."""
    hashes = " ".join(f"'sha256-{base64.b64encode(hashlib.sha256(t.encode()).digest()).decode()}'" for t in scripts)
    return (
        f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src {hashes}; "
        "base-uri 'none'; form-action 'none'"
    )


def json_script(value: Any, name: str) -> Markup:
    """A JSON value that the page's scripts read by its id, in plain ASCII without a character that HTML knows."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup('<script type="application/json" id="{}">').format(name) + Markup(text) + Markup("</script>")


def grouped(number: int) -> str:
    """A whole number with thin spaces between thousands."""
    return f"{number:,}".replace(",", "\u202f")
