"""A conversion that leaves word of what it read and wrote: for `--if-changed`, and as a depfile for make and ninja."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from ..report import FORMATS, RunRecord
from .convert import Request, convert
from .dependencies import Dependencies, dependencies
from .events import Listener, silent
from .fresh import depfile, started, write_state
from .planning import target_of
from .several import Converted, convert_several
from .staging import check_file, destination, guarded, write_text


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


@dataclass(frozen=True, slots=True)
class _Done:
    """What a run left: whether all went well, what a depfile names as its target, the files, and the JSON report."""

    good: bool
    target: str
    files: tuple[Path, ...]
    report: Path


def tracked(request: Request, tracking: Tracking, listener: Listener = silent) -> RunRecord:
    """Convert; a run whose gates fail leaves neither state nor depfile.

    Raises:
        QConvertError: whatever went wrong.
    """

    def run() -> tuple[RunRecord, _Done]:
        record, (report, *others) = convert(request, listener), _reports(request)
        files = (*(Path(o.path) for o in record.outputs), report, *others)
        return record, _Done(record.status == "done", record.outputs[0].path, files, report)

    return _tracked([request], tracking, run)


def tracked_several(
    requests: Sequence[Request], output: Path, reports: Path | None, tracking: Tracking, listener: Listener = silent
) -> Converted:
    """As `tracked` for several targets; the depfile's target is the combined report.

    Raises:
        QConvertError: where the combined report cannot be written, or an input of `tracking` cannot be read.
    """

    def run() -> tuple[Converted, _Done]:
        found = convert_several(requests, output, reports, listener)
        made = (Path(o.path) for record in found.records for o in record.outputs)
        ended = {record.target for record in found.records}
        own = (path for request in requests if request.recipe.target in ended for path in _reports(request))
        files = (*made, *own, *found.reports)
        return found, _Done(found.record.status == "done", str(found.reports[0]), files, found.reports[0])

    return _tracked(requests, tracking, run)


T = TypeVar("T")


def _tracked(requests: Sequence[Request], tracking: Tracking, run: Callable[[], tuple[T, _Done]]) -> T:
    if tracking.state is None and tracking.depfile is None:
        return run()[0]
    if tracking.depfile is not None:
        check_file(tracking.depfile, requests[0].inputs)
    found = [dependencies(request) for request in requests]
    files = dict.fromkeys(path for each in found for path in each.files)
    folders = dict.fromkeys(path for each in found for path in each.folders)
    depends = Dependencies(tuple(files), tuple(folders)).all() if tracking.depfile is not None else ()
    begun = started(tracking.key, files, folders, depends)
    result, done = run()
    if done.good and tracking.depfile is not None:
        write_text(tracking.depfile, depfile(done.target, depends))
    if tracking.state is not None:
        state = begun.done(done.files, done.report, done.target) if done.good else None
        if state is not None:
            write_state(tracking.state, state)
        else:
            with guarded(tracking.state):
                tracking.state.unlink(missing_ok=True)
    return result


def _reports(request: Request) -> Iterator[Path]:
    """The reports of a run, the JSON one first, and the baseline where it is written."""
    place = destination(request.output, target_of(request.recipe).artefact.extension, (), request.reports)
    yield from (place.report_as(FORMATS[name].extension) for name in dict.fromkeys(("json", *request.recipe.report)))
    if request.update_baseline and request.baseline is not None:
        yield request.baseline
