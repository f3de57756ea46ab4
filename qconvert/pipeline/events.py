"""Stages as the listener sees them: what runs, how far it is, how long it took."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from ..errors import Diagnostic
from ..report.record import StageTime


@dataclass(frozen=True, slots=True)
class Event:
    """Something a listener may show.

    Attributes:
        kind: "start", "progress" or "done" of a stage, or "diagnostic".
        done, total: progress; total 0 where it is not known.
        target: whose stage it is, where there are several targets.
    """

    kind: str
    stage: str
    done: int = 0
    total: int = 0
    seconds: float = 0.0
    diagnostic: Diagnostic | None = None
    target: str = ""

    @property
    def title(self) -> str:
        """The stage, with its target where there are several."""
        return f"{self.target}: {self.stage}" if self.target else self.stage


Listener = Callable[[Event], None]


def of_target(listener: Listener, target: str) -> Listener:
    """A listener that tells `listener` whose events they are."""
    return lambda event: listener(replace(event, target=target))


def silent(event: Event) -> None:
    """A listener that shows nothing."""


class Stages:
    """Times the stages of one run, tells the listener, and keeps the diagnostics."""

    def __init__(self, listener: Listener = silent) -> None:
        self._listener = listener
        self.times: list[StageTime] = []
        self.diagnostics: list[Diagnostic] = []

    @contextmanager
    def stage(self, name: str) -> Iterator[Callable[[int, int], None]]:
        """Run a stage; yields the function that reports its progress as (done, total)."""
        self._listener(Event("start", name))
        wall, cpu = time.perf_counter(), time.process_time()
        yield lambda done, total: self._listener(Event("progress", name, done, total))
        seconds = time.perf_counter() - wall
        self.times.append(StageTime(name=name, seconds=seconds, cpu_seconds=time.process_time() - cpu))
        self._listener(Event("done", name, seconds=seconds))

    def note(self, *found: Diagnostic) -> None:
        """Keep diagnostics for the report and show them; each is kept once."""
        for diagnostic in found:
            if diagnostic not in self.diagnostics:
                self.diagnostics.append(diagnostic)
                self._listener(Event("diagnostic", "", diagnostic=diagnostic))
