"""How much memory this process may still take."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path


def available_memory() -> int | None:
    """Bytes that can be had without swapping: of the machine, of the container, of the process's own limits; None if unknown."""
    return min((max(size, 0) for size in _bounds()), default=None)


def _bounds() -> Iterator[int]:
    with suppress(OSError, ValueError, IndexError):
        text = Path("/proc/meminfo").read_text(encoding="ascii")
        yield next(int(line.split()[1]) * 1024 for line in text.splitlines() if line.startswith("MemAvailable:"))
    if sys.platform == "darwin":
        with suppress(OSError, ValueError):
            yield os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    with suppress(OSError, ValueError):
        group = Path("/sys/fs/cgroup")
        yield int((group / "memory.max").read_text()) - int((group / "memory.current").read_text())
    yield from _limits()


def _limits() -> Iterator[int]:
    """Limits of the process on what it may allocate, as `ulimit -d` and `ulimit -v` set them."""
    with suppress(ImportError):
        import resource

        for kind in (resource.RLIMIT_DATA, resource.RLIMIT_AS):
            limit = resource.getrlimit(kind)[0]
            if limit != resource.RLIM_INFINITY:
                yield limit
