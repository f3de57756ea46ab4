"""`qconvert convert`."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from ..errors import EXIT_CODES
from .console import out, progress, show_diagnostics
from .github import announce
from .options import Data, Json, Model, Quiet, RecipeFile, ReportDir, Reports, Set, TargetName, formats, overrides


def convert(
    model: Model,
    recipe: RecipeFile = None,
    target: TargetName = None,
    data: Data = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="Output file (.onnx) or folder.")] = Path("out"),
    samples: Annotated[int | None, typer.Option(help="Calibration samples.", show_default=False)] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the sample choice.", show_default=False)] = None,
    mode: Annotated[str | None, typer.Option(help="auto, static or dynamic.", show_default=False)] = None,
    format_: Annotated[str | None, typer.Option("--format", help="qdq or qoperator.", show_default=False)] = None,
    threads: Annotated[int, typer.Option(min=1, help="Threads of calibration and evaluation.")] = 1,
    evaluate: Annotated[bool, typer.Option("--evaluate/--no-evaluate", help="Measure accuracy and latency.")] = True,
    report: Reports = None,
    report_dir: ReportDir = None,
    update_baseline: Annotated[
        bool, typer.Option("--update-baseline", help="Write the report to `gates.against` instead of judging by it.")
    ] = False,
    set_: Set = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> int:
    """Convert an FP32 model: calibrate, rewrite, prove, and report accuracy, size and latency.

    Examples:

    qconvert convert model.onnx -t x86-vnni -d dataset/ -o out/model.int8.onnx

    qconvert convert model.onnx -r recipe.yaml -d dataset/ -o out/ --samples 64 --set calibration.method=percentile

    qconvert convert model.onnx -r recipe.yaml -d dataset/ -o out/ --report html,junit --report-dir reports/

    qconvert convert model.onnx -r recipe.yaml -d dataset/ -o out/ --update-baseline
    """
    from ..pipeline.convert import convert as run
    from ..pipeline.request import make_request
    from ..report import to_json
    from ..report.terminal import render

    changes = overrides(
        set_, dataset__samples=samples, dataset__seed=seed, mode=mode, format=format_, report=formats(report)
    )
    request, notes = make_request(model, output, data, recipe, target, changes, evaluate, threads, report_dir)
    request = replace(request, update_baseline=update_baseline)
    if not quiet:
        show_diagnostics(notes)
    with progress(quiet) as listener:
        record = run(request, listener)
    if as_json:
        print(to_json(record), end="")
    elif not quiet:
        out().print(render(record))
    announce(record)
    failed = record.status != "done"
    if update_baseline and not (failed or quiet):
        print(f"wrote the baseline {request.baseline}", file=sys.stderr)
    if failed and (quiet or as_json):
        print("gates failed: " + "; ".join(gate.text for gate in record.gates if not gate.passed), file=sys.stderr)
    return EXIT_CODES["G"] if failed else 0
