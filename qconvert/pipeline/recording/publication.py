"""The files of a run under their names: the model, what lies beside it, and the reports."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ...errors import Diagnostic, Severity
from ...graph import rename_data
from ...recipe import Recipe
from ...report.record import OutputInfo, Problem, RunRecord
from ..planning import target_of
from ..request import Request
from ..storage.staging import Destination, destination, guarded, publish, sha256, staged
from .reports import stage_reports, stale_reports


def place_of(request: Request) -> Destination:
    """Where the results of a request go.

    Raises:
        QConvertError: see `staging.destination`.
    """
    extension = target_of(request.recipe).artefact.extension
    return destination(request.output, extension, request.inputs, request.reports)


def publish_run(
    record: RunRecord, recipe: Recipe, files: list[Path], companions: tuple[Path, ...], place: Destination, folder: Path
) -> RunRecord:
    """Name the outputs, write the reports beside them, and rename everything into place, the model last."""
    accepted = record.status == "done"
    older = (
        []
        if accepted
        else [f for f in (place.artefact, *map(place.artefact.with_name, (c.name for c in companions))) if f.exists()]
    )
    if older:
        record = record.model_copy(update={"diagnostics": (*record.diagnostics, Problem.of(_older(older)))})
    extra = list(companions) if accepted else []
    model = place.artefact if accepted else place.rejected
    names = [f.name for f in (*files[1:], *extra)]
    if not accepted and names:  # weights beside the model must not replace those of an older result
        names = [f"{model.name}.data"]
        rename_data(files[0], names[0])
    files = [*files, *extra]
    targets = [model, *map(model.with_name, names)]
    outputs = tuple(
        OutputInfo(path=str(t), bytes=f.stat().st_size, sha256=sha256(f)) for f, t in zip(files, targets, strict=True)
    )
    final = record.model_copy(update={"outputs": outputs})
    stale = [place.rejected, place.rejected.with_name(place.rejected.name + ".data")] if accepted else []
    with staged(place.report.parent) as beside:  # which may be on another file system
        with guarded(beside):
            reports = stage_reports(final, recipe.report, place, beside)
        publish(
            [*zip(files[1:], targets[1:], strict=True), *reports, (files[0], model)],
            [*stale, *stale_reports(reports, place)],
        )
    return final


def _older(files: Sequence[Path]) -> Diagnostic:
    text = f"files of an earlier run stay as they were: {', '.join(f.name for f in files)}"
    hint = "this report is about the rejected model; delete them if they must not be deployed any more"
    return Diagnostic("G102", text, str(files[0].parent), hint, Severity.NOTE)
