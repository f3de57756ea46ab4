"""`qconvert compare`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .console import Forms, progress, show_diagnostics, show_judged
from .options import (
    ComparisonReports,
    Data,
    FailOn,
    Json,
    Quiet,
    RecipeFile,
    ReportFolder,
    SessionThreads,
    Set,
    formats,
    overrides,
)


def compare(
    a: Annotated[Path, typer.Argument(help="A model (.onnx, .tflite) or a run record (.json).", show_default=False)],
    b: Annotated[Path, typer.Argument(help="Another one of the same kind.", show_default=False)],
    data: Data = None,
    recipe: RecipeFile = None,
    fail_on: FailOn = None,
    threads: SessionThreads = 1,
    report: ComparisonReports = None,
    report_dir: ReportFolder = None,
    set_: Set = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> int:
    """Show what differs between two models or two runs: placement, scales, weights, outputs, layers, size and time.

    Figures for --fail-on: metric (or a metric's name, such as top1), metric_drop, sqnr, cosine, agreement, size, size_ratio,
    latency, speedup, layer_sqnr, layer_drop, placement, scales, weights, int8_macs. Between two runs, speedup is that of their
    speeds against FP32.

    Examples:

    qconvert compare model.onnx out/model.int8.onnx -d dataset/ -r recipe.yaml

    qconvert compare old.int8.onnx new.int8.onnx -d dataset/ --fail-on 'sqnr<30,placement,metric_drop>0.5%'

    qconvert compare main/model.report.json branch/model.report.json --fail-on 'layer_drop>3' --report html,md
    """
    from ..pipeline.comparison import ComparisonRequest
    from ..pipeline.comparison import compare as run
    from ..pipeline.resolve import dataset_recipe
    from ..report.comparison import COMPARISON_FORMATS, comparison_text

    chosen = dataset_recipe(recipe, overrides(set_))
    wanted = formats(report, COMPARISON_FORMATS)
    if not quiet:
        show_diagnostics(chosen.notes)
    asked = ComparisonRequest(a, b, chosen.recipe, data, chosen.base, threads, tuple(fail_on or ()))
    with progress(quiet) as listener:
        found = run(asked, listener)
    forms = Forms("comparison", comparison_text, COMPARISON_FORMATS)
    read = (a, b, *([data] if data is not None else []))
    return show_judged(found, forms, wanted or (), report_dir, read, as_json, quiet)
