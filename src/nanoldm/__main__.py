"""`python -m nanoldm` is `nanoldm`."""

import sys


def main() -> None:
    """Entry point. What it needs is imported here, so that Ctrl-C is heard meanwhile."""
    try:
        from nanoldm.cli.main import main as run
    except KeyboardInterrupt:
        print("nanoldm: interrupted", file=sys.stderr)
        sys.exit(130)
    run()


if __name__ == "__main__":
    main()
