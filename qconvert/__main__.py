"""Entry point: runs the command line and turns every way of failing into a message and an exit code."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line; never shows a traceback for a mistake of the user."""
    from .cli.run import run

    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
