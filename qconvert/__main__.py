"""Entry point: runs the command line and turns every way of failing into a message and an exit code."""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Run the command line; never shows a traceback for a mistake of the user."""
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # its threads spin between small products: 0.2 s CPU a run
    from .cli.run import run

    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
