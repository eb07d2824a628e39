"""How a script ends: code 0, or one line on standard error and code 2 when the user can mend it."""

from __future__ import annotations

import sys
from collections.abc import Callable

from common.errors import UserError


def run(main: Callable[[], None]) -> None:
    """Run a script's `main`; turn a :class:`UserError` into one line and exit code 2, without a traceback."""
    try:
        main()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("interrupted; run the same command again to continue", file=sys.stderr)
        sys.exit(130)
