"""`qconvert convert`."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import EXIT_CODES
from ..pipeline.storage.fresh import Manifest, repeated, run_key, state_path
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
    Quiet,
    Ranges,
    RecipeFile,
    ReportDir,
    Reports,
    Set,
    TargetNames,
    formats,
    overrides,
    separated,
)

if TYPE_CHECKING:
    from ..pipeline.several import Converted
    from ..report import RunRecord


def convert(
    model: Model,
    recipe: RecipeFile = None,
    target: TargetNames = None,
    data: Data = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="Output file (.onnx) or folder.")] = Path("out"),
    samples: Annotated[int | None, typer.Option(help="Calibration samples.", show_default=False)] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the sample choice.", show_default=False)] = None,
    mode: Mode = None,
    bits: Bits = None,
    block: Block = None,
    format_: FormatName = None,
    threads: Annotated[int, typer.Option(min=1, help="Threads of calibration and evaluation.")] = 1,
    evaluate: Annotated[bool, typer.Option("--evaluate/--no-evaluate", help="Measure accuracy and latency.")] = True,
    ranges: Ranges = None,
    write_ranges: Annotated[
        str | None,
        typer.Option(help="Files to write the ranges to, beside the result: tensorrt, aimet.", show_default=False),
    ] = None,
    report: Reports = None,
    report_dir: ReportDir = None,
    update_baseline: Annotated[
        bool, typer.Option("--update-baseline", help="Write the report to `gates.against` instead of judging by it.")
    ] = False,
    if_changed: Annotated[
        bool,
        typer.Option(
            "--if-changed", help="Do nothing where inputs, options and outputs are as the last run left them."
        ),
    ] = False,
    depfile: Annotated[
        Path | None, typer.Option(help="Write what the result depends on, for make and ninja.", show_default=False)
    ] = None,
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
    targets = separated(target)
    options = {
        **keys,
        "set": set_,
        "model": model,
        "output": output,
        "data": data,
        "recipe": recipe,
        "targets": targets,
        "evaluate": evaluate,
        "threads": threads,
        "reports": report_dir,
        "baseline": update_baseline,
        "depfile": depfile is not None,
        "start": Path() if set_ or ranges or not recipe else None,
    }
    known = run_key(options) if if_changed else ""
    state = state_path(output, report_dir) if if_changed else None
    if state is not None and (earlier := repeated(state, known, depfile)) is not None:
        return _unchanged(earlier, as_json, quiet)
    from ..pipeline.asked import make_requests
    from ..pipeline.storage.cache import cache_limit, open_cache
    from ..pipeline.tracked import Tracking, tracked, tracked_several

    changes = overrides(set_, keys)
    requests, notes, several = make_requests(
        model, output, data, recipe, targets, changes, evaluate, threads, report_dir
    )
    kept = None if cache is None else open_cache(cache, cache_limit())
    requests = tuple(replace(request, update_baseline=update_baseline, cache=kept) for request in requests)
    if not quiet:
        show_diagnostics(notes)
    tracking = Tracking(known, state, depfile)
    with progress(quiet) as listener:
        if several:
            found = tracked_several(requests, output, report_dir, tracking, listener)
            records = found.records
        else:
            records = (tracked(requests[0], tracking, listener),)
    code = _show_several(found, as_json, quiet) if several else _show(records[0], as_json, quiet)
    for request, record in zip(requests, records, strict=False) if update_baseline and not (code or quiet) else ():
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
