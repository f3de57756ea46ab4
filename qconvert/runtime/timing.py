"""Times of several things against each other, on a machine that does other work too.

All of them are timed in one process in interleaved rounds whose order is reversed every second round, so that a change of the
clock frequency or of the load meets them alike; a round is one discarded run and as many timed ones as fill it. What counts is
the median over rounds of the ratio within a round. For work on a single thread the clock is the CPU time of that thread, which
does not run while another process has the core.
"""

from __future__ import annotations

import gc
import platform
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, Protocol, TypeAlias, runtime_checkable

import numpy as np

Clock: TypeAlias = Literal["cpu", "wall"]


@runtime_checkable
class Elsewhere(Protocol):
    """Work in another process, which reads the clock itself."""

    def seconds(self, times: int, clock: Clock) -> float:
        """Run so many times in a row, and say how long that took."""


Run: TypeAlias = Callable[[], object] | Elsewhere

MIN_ROUNDS = 3
LONG_RUN = 0.5  # seconds; a run this long needs no discarded one before it
MAX_RUNS = 10_000  # of one round, where the clock is too coarse to see a run


@dataclass(frozen=True)
class Timings:
    """Seconds of one run, a figure each round.

    Attributes:
        seconds: by name, equally many for each.
        runs: timed runs of each round by name.
    """

    seconds: Mapping[str, tuple[float, ...]]
    runs: Mapping[str, int]
    clock: Clock

    @property
    def rounds(self) -> int:
        """How many rounds were made."""
        return len(next(iter(self.seconds.values()), ()))

    def median(self, name: str) -> float:
        """Median over rounds, in seconds."""
        return float(np.median(self.seconds[name]))

    def p95(self, name: str) -> float:
        """95th percentile over rounds, in seconds."""
        return float(np.percentile(self.seconds[name], 95))

    def ratio(self, base: str, name: str) -> tuple[float, float, float]:
        """Lower quartile, median and upper quartile over rounds of the time of `base` / the time of `name`."""
        quotients = np.array(self.seconds[base]) / np.array(self.seconds[name])
        low, middle, high = np.percentile(quotients, (25, 50, 75)).tolist()
        return low, middle, high


def clock_for(threads: int) -> Clock:
    """CPU time of the thread for one thread, wall time for more, and where thread times are coarse (Windows: 16 ms)."""
    return "cpu" if threads == 1 and sys.platform != "win32" and hasattr(time, "thread_time") else "wall"


def time_interleaved(
    runs: Mapping[str, Run], rounds: int = 15, clock: Clock = "cpu", target: float = 0.025, budget: float = 60.0
) -> Timings:
    """Time several callables against each other.

    Args:
        runs: what to time, by name; each must do the same work at every call.
        rounds: how many to make if the budget allows.
        target: seconds of timed runs in a round, for each.
        budget: wall seconds after which no further round is begun; at least three (or `rounds`, if less) are always made.
    """
    deadline = time.perf_counter() + budget
    with _quiet():
        timers = {name: _timer(run, clock) for name, run in runs.items()}
        counts = {name: _runs_needed(timer, target) for name, timer in timers.items()}
        seconds = _rounds(timers, counts, rounds, deadline)
    return Timings(seconds, {name: count.timed for name, count in counts.items()}, clock)


@dataclass(frozen=True, slots=True)
class _Count:
    discarded: int
    timed: int


_Timer: TypeAlias = Callable[[int], float]


def _timer(run: Run, clock: Clock) -> _Timer:
    """From how many runs to the seconds that they took."""
    if isinstance(run, Elsewhere):
        return partial(run.seconds, clock=clock)
    now = time.thread_time if clock == "cpu" else time.perf_counter

    def timed(times: int) -> float:
        start = now()
        for _ in range(times):
            run()
        return now() - start

    return timed


def _runs_needed(timer: _Timer, target: float) -> _Count:
    """How many runs fill a round, from ever longer trials until the clock sees them well."""
    timer(1)
    timed = 1
    while (taken := timer(timed)) < target / 4 and timed < MAX_RUNS:
        timed = min(timed * 4, MAX_RUNS)
    one = max(taken / timed, 1e-9)
    return _Count(int(one < LONG_RUN), min(max(round(target / one), 1), MAX_RUNS))


def _rounds(
    timers: Mapping[str, _Timer], counts: Mapping[str, _Count], rounds: int, deadline: float
) -> dict[str, tuple[float, ...]]:
    found: dict[str, list[float]] = {name: [] for name in timers}
    longest = 0.0
    for n in range(rounds):
        start = time.perf_counter()
        if n >= MIN_ROUNDS and start + longest > deadline:
            break
        for name in list(timers) if n % 2 == 0 else list(timers)[::-1]:
            timers[name](counts[name].discarded)
            found[name].append(max(timers[name](counts[name].timed) / counts[name].timed, 1e-12))
        longest = max(longest, time.perf_counter() - start)
    return {name: tuple(values) for name, values in found.items()}


@contextmanager
def _quiet() -> Iterator[None]:
    """Without garbage collection, which would stop one of the runs at random."""
    enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def host_name(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """What kind of processor this is, as far as the system tells."""
    try:
        lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    fields = {
        key.strip(): value.strip() for key, colon, value in (line.partition(":") for line in reversed(lines)) if colon
    }
    named = next((fields[key] for key in ("model name", "Model", "Hardware") if fields.get(key)), "")
    return " ".join((named or platform.processor() or platform.machine() or "unknown").split())
