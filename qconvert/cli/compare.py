"""`qconvert compare`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..errors import EXIT_CODES
from .console import out, progress, show_diagnostics, show_problems
from .options import Data, FailOn, Json, Quiet, RecipeFile, ReportDir, Reports, Set, formats, overrides


def compare(
    a: Annotated[Path, typer.Argument(help="A model (.onnx, .tflite) or a run record (.json).", show_default=False)],
    b: Annotated[Path, typer.Argument(help="Another one of the same kind.", show_default=False)],
    data: Data = None,
    recipe: RecipeFile = None,
    fail_on: FailOn = None,
    threads: Annotated[int, typer.Option(min=1, help="Threads of the sessions.")] = 1,
    report: Reports = None,
    report_dir: ReportDir = None,
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
    from ..pipeline.reports import write_reports
    from ..pipeline.request import dataset_recipe
    from ..report.comparison import COMPARISON_FORMATS, comparison_json, comparison_text

    chosen, base, notes = dataset_recipe(recipe, overrides(set_))
    wanted = formats(report, COMPARISON_FORMATS)
    if not quiet:
        show_diagnostics(notes)
    with progress(quiet) as listener:
        found = run(ComparisonRequest(a, b, chosen, data, base, threads, tuple(fail_on or ())), listener)
    chosen_formats = [COMPARISON_FORMATS[name] for name in wanted or ()]
    texts = {f"comparison{ending}": render(found) for ending, render in chosen_formats}
    written = write_reports(texts, report_dir, (a, b, *([data] if data is not None else [])))
    if as_json:
        print(comparison_json(found), end="")
    elif not quiet:
        out().print(comparison_text(found))
        for path in written:
            print(f"wrote {path}")
    show_problems(found.diagnostics, quiet)
    return EXIT_CODES["G"] if found.status != "done" else 0
