"""Entry point: runs the command line and turns every way of failing into a message and an exit code."""

from __future__ import annotations

import gc
import os
import sys


def main() -> None:
    """Run the command line; never shows a traceback for a mistake of the user."""
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # its threads spin between small products: 0.2 s CPU a run
    # The usual 700 has the modules of a command, which stay, searched again and again: 0.1 s a run.
    gc.set_threshold(10_000)
    from .cli.run import run

    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
