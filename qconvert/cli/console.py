"""What the commands share: consoles, progress, the shape of messages."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from ..errors import EXIT_CODES, Diagnostic

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import Console, RenderableType

    from ..pipeline.events import Event
    from ..report.comparison import Comparison
    from ..report.evaluation import Evaluation
    from ..report.record import Problem

_WIDE = 1000  # columns where the output is no terminal: tables take what they need, so that logs can be searched


def out() -> Console:
    """Console of standard output: results."""
    return _console(sys.stdout)


def err() -> Console:
    """Console of standard error: progress and messages."""
    return _console(sys.stderr)


def _console(stream: Any) -> Console:
    from rich.console import Console

    return Console(
        file=stream,
        emoji=False,
        width=None if stream.isatty() else _WIDE,
        highlight=False,
        soft_wrap=not stream.isatty(),
    )


def show_diagnostics(diagnostics: Sequence[Diagnostic]) -> None:
    """Print diagnostics to standard error."""
    from ..report.message import message_text

    console = err()
    for found in diagnostics:
        console.print(message_text(found.code, found.severity.value, found.message, found.where, found.hint))


def show_problems(problems: Iterable[Problem], quiet: bool) -> None:
    """Print the messages of a record to standard error; when quiet only the errors."""
    from ..report.message import message_text

    console = err()
    for p in problems:
        if p.severity == "error" or not quiet:
            console.print(message_text(p.code, p.severity, p.message, p.where, p.hint))


def errors_json(diagnostics: Sequence[Diagnostic]) -> dict[str, Any]:
    """Diagnostics as machine output."""
    keys = ("code", "severity", "message", "where", "hint")
    return {"diagnostics": [{key: getattr(d, key) for key in keys} for d in diagnostics]}


@contextmanager
def progress(quiet: bool) -> Iterator[Callable[[Event], None]]:
    """A listener: bars with ETA on a terminal, one line a stage elsewhere, nothing when quiet (errors are still shown)."""
    if quiet:
        yield lambda event: None
    elif sys.stderr.isatty() and not os.environ.get("CI"):
        with _bars() as listener:
            yield listener
    else:
        yield _lines


def _lines(event: Event) -> None:
    if event.kind == "done":
        print(f"{event.title}: {event.seconds:.1f} s", file=sys.stderr, flush=True)


@contextmanager
def _bars() -> Iterator[Callable[[Event], None]]:
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description:<16}"),
        BarColumn(),
        TextColumn("{task.completed:.0f}/{task.total:.0f}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=err(), transient=True) as bars:
        tasks: dict[str, Any] = {}

        def listen(event: Event) -> None:
            if event.kind == "start":
                tasks[event.stage] = bars.add_task(event.title, total=1)
            elif event.kind == "progress" and event.stage in tasks:
                bars.update(tasks[event.stage], completed=event.done, total=max(event.total, 1))
            elif event.kind == "done" and event.stage in tasks:
                bars.remove_task(tasks.pop(event.stage))

        yield listen


Judged = TypeVar("Judged", "Evaluation", "Comparison")


@dataclass(frozen=True, slots=True)
class Forms(Generic[Judged]):
    """How a command shows what it found.

    Attributes:
        name: of the files.
        text: for the terminal.
        files: ending and content by the name of the format; one of them is "json".
    """

    name: str
    text: Callable[[Judged], RenderableType]
    files: Mapping[str, tuple[str, Callable[[Judged], str]]]


def show_judged(
    found: Judged,
    forms: Forms[Judged],
    wanted: Iterable[str],
    folder: Path | None,
    inputs: Iterable[Path],
    as_json: bool,
    quiet: bool,
) -> int:
    """Write the reports, show what was found with its messages, and return the exit code.

    Args:
        wanted: names of formats; folder: of the reports, the current one by default.
        inputs: files and folders that no report may touch.
    """
    from ..pipeline.recording.reports import write_reports

    texts = {f"{forms.name}{ending}": render(found) for ending, render in (forms.files[name] for name in wanted)}
    written = write_reports(texts, folder, inputs)
    if as_json:
        print(forms.files["json"][1](found), end="")
    elif not quiet:
        out().print(forms.text(found))
        for path in written:
            print(f"wrote {path}")
    show_problems(found.diagnostics, quiet)
    return EXIT_CODES["G"] if found.status != "done" else 0
