"""One model for several targets: one pass over the data where their canonical graphs are the same, and one report over all."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from .. import __version__
from ..errors import EXIT_CODES, QConvertError
from ..report import FORMATS, RunRecord
from ..report.record import Problem
from ..report.targets import TARGETS_FORMATS, TargetRun, TargetsRecord, target_run
from ..runtime import host_name
from .convert import convert
from .events import Listener, of_target, silent
from .recording.publication import place_of
from .request import Request
from .storage.cache import Memory
from .storage.staging import Destination, keep_apart, publish, staged

STEM = "targets"


@dataclass(frozen=True, eq=False)
class Converted:
    """Everything about a run for several targets.

    Attributes:
        record: the targets side by side; records: the full record of each that came to an end.
        reports: files of the combined report, the JSON one first; apart: formats that only the single targets have.
    """

    record: TargetsRecord
    records: tuple[RunRecord, ...]
    reports: tuple[Path, ...]
    apart: tuple[str, ...] = ()


def convert_several(
    requests: Sequence[Request], output: Path, reports: Path | None = None, listener: Listener = silent
) -> Converted:
    """Convert for each target, one after the other; one that fails does not keep the others from their results.

    Args:
        requests: one for each target, with outputs and reports in folders of their own.
        output: folder above those; reports: folder of the combined report, None for the same.

    Raises:
        QConvertError: O001 or O002 where the combined report cannot be written, O003 where a result would lie in the dataset.
    """
    place = Destination(output, STEM, "", reports)
    for file in {
        place.report,
        *(r.output / STEM for r in requests),
        *((r.reports or r.output) / STEM for r in requests),
    }:
        for path in requests[0].inputs:
            keep_apart(file.resolve(), path)
    shared = next((r.cache for r in requests if r.cache is not None), None) or Memory()
    runs: list[TargetRun] = []
    records: list[RunRecord] = []
    for request in requests:
        try:
            record = convert(replace(request, cache=shared), of_target(listener, request.recipe.target))
        except QConvertError as error:
            runs.append(_failed(request, error))
            continue
        code = 0 if record.status == "done" else EXIT_CODES["G"]
        run = target_run(record, _data(record, records), str(place_of(request).report), code)
        runs.append(run.model_copy(update={"page": _page(request, place)}))
        records.append(record)
    found = TargetsRecord(
        tool_version=__version__,
        model=str(requests[0].model),
        status=_worst(runs),
        exit_code=max(run.exit_code for run in runs),
        targets=tuple(runs),
        host=host_name(),
    )
    apart = dict.fromkeys(name for r in requests for name in r.recipe.report if name not in TARGETS_FORMATS)
    return Converted(found, tuple(records), _written(found, requests, place), tuple(apart))


def _worst(runs: Sequence[TargetRun]) -> Literal["done", "gates failed", "failed"]:
    if any(run.status == "failed" for run in runs):
        return "failed"
    return "gates failed" if any(run.status == "gates failed" for run in runs) else "done"


def _failed(request: Request, error: QConvertError) -> TargetRun:
    problems = tuple(Problem.of(found) for found in error.diagnostics)
    return TargetRun(target=request.recipe.target, status="failed", exit_code=error.exit_code, problems=problems)


def _page(request: Request, place: Destination) -> str:
    """The page of one target as a path from the combined one; "" without one."""
    if "html" not in request.recipe.report:
        return ""
    own, common = place_of(request).report_as(FORMATS["html"].extension), place.report
    return Path(os.path.relpath(own, common.parent)).as_posix()


def _data(record: RunRecord, earlier: Sequence[RunRecord]) -> str:
    """How the statistics came about; where the data had to be run again although an earlier target did, why."""
    if record.calibration is None:
        return "not needed"
    if any(found.code == "O101" for found in record.diagnostics):
        return "shared"
    before = next((each for each in earlier if each.calibration is not None), None)
    if before is None:
        return "read"
    own = {r.rule for r in record.rewrites} ^ {r.rule for r in before.rewrites}
    rules = f" ({', '.join(sorted(own))})" if own else ""
    return f"read again: its canonical graph is not that of {before.target}{rules}"


def _written(found: TargetsRecord, requests: Sequence[Request], place: Destination) -> tuple[Path, ...]:
    """Write the combined report in the formats that any of the recipes asks for."""
    asked = dict.fromkeys(("json", *(name for r in requests for name in r.recipe.report if name in TARGETS_FORMATS)))
    stale = [place.report_as(ending) for name, (ending, _) in TARGETS_FORMATS.items() if name not in asked]
    with staged(place.report.parent) as folder:
        files = [pair for name in asked for pair in _staged(found, name, place, folder)]
        publish(files, stale)
    return tuple(final for _, final in files)


def _staged(found: TargetsRecord, name: str, place: Destination, folder: Path) -> Iterator[tuple[Path, Path]]:
    ending, render = TARGETS_FORMATS[name]
    final = place.report_as(ending)
    (folder / final.name).write_text(render(found), encoding="utf-8")
    yield folder / final.name, final
