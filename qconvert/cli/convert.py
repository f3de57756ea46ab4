"""`qconvert convert`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import EXIT_CODES
from ..pipeline.asked import Asked
from ..pipeline.storage.fresh import Manifest, Tracking, repeated, run_key, state_path
from .console import out, progress, show_diagnostics, show_problems
from .github import announce, announce_several
from .options import (
    Bits,
    Block,
    CacheFolder,
    Data,
    FormatName,
    Json,
    Mode,
    Model,
    Output,
    Quiet,
    Ranges,
    RecipeFile,
    ReportDir,
    Reports,
    Set,
    TargetNames,
    Threads,
    formats,
    overrides,
    separated,
)

if TYPE_CHECKING:
    from ..pipeline.several import Converted
    from ..report import RunRecord

Samples = Annotated[int | None, typer.Option(help="Calibration samples.", show_default=False)]
Seed = Annotated[int | None, typer.Option(help="Seed of the sample choice.", show_default=False)]
Evaluate = Annotated[bool, typer.Option("--evaluate/--no-evaluate", help="Measure accuracy and latency.")]
WriteRanges = Annotated[
    str | None,
    typer.Option(help="Files to write the ranges to, beside the result: tensorrt, aimet.", show_default=False),
]
UpdateBaseline = Annotated[
    bool, typer.Option("--update-baseline", help="Write the report to `gates.against` instead of judging by it.")
]
IfChanged = Annotated[
    bool,
    typer.Option("--if-changed", help="Do nothing where inputs, options and outputs are as the last run left them."),
]
Depfile = Annotated[
    Path | None, typer.Option(help="Write what the result depends on, for make and ninja.", show_default=False)
]


def convert(
    model: Model,
    recipe: RecipeFile = None,
    target: TargetNames = None,
    data: Data = None,
    output: Output = "out",
    samples: Samples = None,
    seed: Seed = None,
    mode: Mode = None,
    bits: Bits = None,
    block: Block = None,
    format_: FormatName = None,
    threads: Threads = 1,
    evaluate: Evaluate = True,
    ranges: Ranges = None,
    write_ranges: WriteRanges = None,
    report: Reports = None,
    report_dir: ReportDir = None,
    update_baseline: UpdateBaseline = False,
    if_changed: IfChanged = False,
    depfile: Depfile = None,
    cache: CacheFolder = None,
    set_: Set = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> int:
    """Convert an FP32 model: calibrate, rewrite, prove, and report accuracy, size and latency.

    Examples:

    qconvert convert model.onnx -t x86-vnni -d dataset/ -o out/model.int8.onnx

    qconvert convert model.onnx -r recipe.yaml -d dataset/ -o out/ --samples 64 --set calibration.method=percentile

    qconvert convert model.onnx -t x86-vnni --mode weight-only --bits 8 -o out/

    qconvert convert model.onnx -r recipe.yaml -d dataset/ -o out/ --report html,junit --report-dir reports/

    qconvert convert model.onnx -r recipe.yaml -d dataset/ -o out/ --update-baseline

    qconvert convert model.onnx -t x86-vnni,arm-neon,tensorrt -d dataset/ -o out/

    qconvert convert model.onnx -r recipe.yaml -d dataset/ -o out/ --if-changed --depfile out/model.d
    """
    keys = {
        "dataset.samples": samples,
        "dataset.seed": seed,
        "mode": mode,
        "weights.bits": bits,
        "weights.block": block,
        "format": format_,
        "calibration.read": None if ranges is None else ranges.as_posix(),
        "calibration.write": formats([write_ranges] if write_ranges else None),
        "report": formats(report),
    }
    asked = Asked(
        model,
        output,
        data,
        recipe,
        targets=separated(target),
        changes=overrides(set_, keys),
        evaluate=evaluate,
        threads=threads,
        reports=report_dir,
        update_baseline=update_baseline,
        cache=cache,
    )
    tracking = Tracking(depfile=depfile)
    if if_changed:
        start = Path() if set_ or ranges or not recipe else None
        state, key = state_path(asked.place, report_dir, asked.in_folder), _key(asked, depfile, start)
        tracking = Tracking(key, state, depfile)
        if (earlier := repeated(state, key, depfile)) is not None:
            return _unchanged(earlier, as_json, quiet)
    return _convert(asked, tracking, as_json, quiet)


def _key(asked: Asked, depfile: Path | None, start: Path | None) -> str:
    """One text for everything that decides what a run writes.

    Args:
        start: the working directory, where paths that were not written in a recipe start.
    """
    options = {**vars(asked), "output": asked.place, "cache": None}
    return run_key({**options, "depfile": depfile is not None, "start": start})


def _convert(asked: Asked, tracking: Tracking, as_json: bool, quiet: bool) -> int:
    """Convert, show what came of it, and return the exit code."""
    from ..pipeline.resolve import requests_of
    from ..pipeline.tracked import tracked, tracked_several

    requests, notes, several = requests_of(asked)
    if not quiet:
        show_diagnostics(notes)
    with progress(quiet) as listener:
        if several:
            found = tracked_several(requests, asked.place, asked.reports, tracking, listener)
            records = found.records
        else:
            records = (tracked(requests[0], tracking, listener),)
    code = _show_several(found, as_json, quiet) if several else _show(records[0], as_json, quiet)
    if asked.update_baseline and not (code or quiet):
        for request, record in zip(requests, records, strict=True):
            print(f"wrote the baseline {request.baseline} of {record.target}", file=sys.stderr)
    return code


def _show(record: RunRecord, as_json: bool, quiet: bool) -> int:
    """Show a run, and return the exit code."""
    from ..report import to_json
    from ..report.terminal import render

    if as_json:
        print(to_json(record), end="")
    elif not quiet:
        out().print(render(record))
    announce(record)
    failed = record.status != "done"
    if failed and (quiet or as_json):
        print("gates failed: " + "; ".join(gate.text for gate in record.gates if not gate.passed), file=sys.stderr)
    return EXIT_CODES["G"] if failed else 0


def _show_several(found: Converted, as_json: bool, quiet: bool) -> int:
    """Show a run for several targets, and return the exit code."""
    from ..report.targets import targets_json, targets_text

    if as_json:
        print(targets_json(found.record), end="")
    elif not quiet:
        out().print(targets_text(found.record))
        print(f"wrote {', '.join(map(str, found.reports))}")
        if found.apart:
            print(f"{', '.join(found.apart)}: a file for each target, in its folder; there is none over all")
    announce_several(found.record, found.records)
    for run in found.record.targets if quiet or as_json else ():
        show_problems((p for p in run.problems if p.severity == "error"), quiet)
        for gate in run.gates:
            if not gate.passed:
                print(f"{run.target}: gate failed: {gate.text}", file=sys.stderr)
    return found.record.exit_code


def _unchanged(earlier: Manifest, as_json: bool, quiet: bool) -> int:
    """Say that there is nothing to do."""
    if as_json:
        print(Path(earlier.report).read_text(encoding="utf-8"), end="")
    elif not quiet:
        print(f"nothing has changed: {earlier.target} is up to date", file=sys.stderr)
    return 0
