"""`python -m nanoldm` is `nanoldm`."""

import os
import sys
from collections.abc import Callable

from nanoldm.utils.launched import launched_processes


def main() -> None:
    """Entry point. What it needs is imported here, so that Ctrl-C is heard meanwhile."""
    try:
        from nanoldm.cli.main import main as run
    except KeyboardInterrupt:
        print("nanoldm: interrupted", file=sys.stderr)
        sys.exit(130)
    if launched_processes() == 1:
        run()
    else:
        end_with(run)


def end_with(run: Callable[[], None]) -> None:
    """Run, and end the process at once, with the exit code of `run`.

    The usual end aborts now and then: threads of gloo are still at work when Python has ended.
    """
    code = 0
    try:
        run()
    except SystemExit as ending:
        code = ending.code or 0
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
