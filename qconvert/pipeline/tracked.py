"""A conversion that leaves word of what it read and wrote: for `--if-changed`, and as a depfile for make and ninja."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..report import FORMATS, RunRecord
from .convert import Request, convert
from .dependencies import dependencies
from .events import Listener, silent
from .fresh import depfile, started, write_state
from .planning import target_of
from .staging import destination, guarded, write_text


@dataclass(frozen=True, slots=True)
class Tracking:
    """What is written beside the results.

    Attributes:
        key: of options and versions (see `fresh.key_of`).
        state: file for the next `--if-changed`; depfile: for make and ninja; None for none.
    """

    key: str = ""
    state: Path | None = None
    depfile: Path | None = None


def tracked(request: Request, tracking: Tracking, listener: Listener = silent) -> RunRecord:
    """Convert; a run whose gates fail leaves neither state nor depfile.

    Raises:
        QConvertError: whatever went wrong.
    """
    if tracking.state is None and tracking.depfile is None:
        return convert(request, listener)
    found = dependencies(request)
    depends = found.all() if tracking.depfile is not None else ()
    begun = started(tracking.key, found.files, found.folders, depends)
    record = convert(request, listener)
    good = record.status == "done"
    if good and tracking.depfile is not None:
        write_text(tracking.depfile, depfile(record.outputs[0].path, begun.depends))
    if tracking.state is not None:
        report, *others = _reports(request)
        written = [*(Path(o.path) for o in record.outputs), report, *others]
        state = begun.done(written, report, record.outputs[0].path) if good else None
        if state is not None:
            write_state(tracking.state, state)
        else:
            with guarded(tracking.state):
                tracking.state.unlink(missing_ok=True)
    return record


def _reports(request: Request) -> Iterator[Path]:
    """The reports of a run, the JSON one first, and the baseline where it is written."""
    place = destination(request.output, target_of(request.recipe).extension, (), request.reports)
    yield from (place.report_as(FORMATS[name].extension) for name in dict.fromkeys(("json", *request.recipe.report)))
    if request.update_baseline and request.baseline is not None:
        yield request.baseline
