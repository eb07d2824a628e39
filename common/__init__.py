"""Shared ground of all scripts."""

import sys

if sys.version_info < (3, 11):  # noqa: UP036 (whoever has an older one reads a line, not a traceback)
    print(
        f"error: Python 3.11 or later is needed, and this is {sys.version.split()[0]}; see README.md", file=sys.stderr
    )
    sys.exit(2)
