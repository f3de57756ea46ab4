"""Commands in processes of their own, with what they cost.

A child's peak memory counts from that of its parent at the time of the fork, so a small process stands between:
`python -S process.py COMMAND...` runs the command and prints its cost as JSON on the last line of stdout.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

_UNIT = 1 if sys.platform == "darwin" else 1024


class Cost(NamedTuple):
    """What a process cost, from start to end."""

    wall: float
    cpu: float
    peak_mb: float


class ProcessFailed(Exception):
    """A command did not end with status 0; the text is its last message."""


def run(command: list[str], folder: Path) -> Cost:
    """Run a command in a folder.

    Raises:
        ProcessFailed: with its last message, hints aside.
    """
    done = subprocess.run(
        [sys.executable, "-S", __file__, *command], cwd=folder, capture_output=True, text=True, check=False
    )
    if done.returncode:
        lines = [line for line in done.stderr.strip().splitlines() if not line.strip().startswith("hint:")]
        raise ProcessFailed((lines or [f"status {done.returncode}"])[-1].strip()[:400])
    return Cost(*json.loads(done.stdout.splitlines()[-1]))


def _main() -> int:
    start = time.perf_counter()
    child = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    wall = time.perf_counter() - start
    print(json.dumps([wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * _UNIT / 1e6]))
    return child.returncode


if __name__ == "__main__":
    sys.exit(_main())
