"""`qconvert evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .console import Forms, progress, show_diagnostics, show_judged
from .options import (
    Data,
    EvaluationReports,
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


def evaluate(
    models: Annotated[list[Path], typer.Argument(help="ONNX or .tflite models.", show_default=False)],
    data: Data = None,
    recipe: RecipeFile = None,
    reference: Annotated[
        Path | None, typer.Option(help="The model to compare with, by default the first.", show_default=False)
    ] = None,
    fail_on: FailOn = None,
    threads: SessionThreads = 1,
    on: Annotated[
        list[str] | None,
        typer.Option(
            "--on",
            help="Run on other cores too, under emulation: `arm`, `haswell`, or one of `qconvert emulator status`.",
            show_default=False,
        ),
    ] = None,
    report: EvaluationReports = None,
    report_dir: ReportFolder = None,
    set_: Set = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> int:
    """Score and time models side by side on a dataset: task metric, fidelity against the first, size, latency.

    The recipe says how the dataset is read and what is measured (`dataset`, `evaluation`); without data only sizes and times
    are compared.

    Figures for --fail-on: metric (or a metric's name, such as top1), metric_drop, sqnr, cosine, agreement, size, size_ratio,
    latency, speedup.

    Examples:

    qconvert evaluate model.onnx out/model.int8.onnx -d dataset/ -r recipe.yaml

    qconvert evaluate model.onnx theirs.tflite ours.tflite -d dataset/ --report html,md

    qconvert evaluate model.onnx out/model.int8.onnx -d dataset/ --on arm

    qconvert evaluate old.onnx new.onnx -d dataset/ --fail-on 'metric_drop>0.5%,speedup<1'
    """
    from ..pipeline.evaluation import EvaluationRequest, evaluate_models, reference_number
    from ..pipeline.resolve import dataset_recipe
    from ..report.evaluation import EVALUATION_FORMATS, evaluation_text

    chosen = dataset_recipe(recipe, overrides(set_))
    wanted = formats(report, EVALUATION_FORMATS)
    if not quiet:
        show_diagnostics(chosen.notes)
    asked = EvaluationRequest(
        tuple(models),
        chosen.recipe,
        reference_number(models, reference),
        data,
        chosen.base,
        threads,
        tuple(fail_on or ()),
        tuple(on or ()),
    )
    with progress(quiet) as listener:
        found = evaluate_models(asked, listener)
    forms = Forms("evaluation", evaluation_text, EVALUATION_FORMATS)
    read = (*models, *([data] if data is not None else []))
    return show_judged(found, forms, wanted or (), report_dir, read, as_json, quiet)
