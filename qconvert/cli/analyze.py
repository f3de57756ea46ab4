"""`qconvert analyze`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .console import out, progress, show_diagnostics
from .options import (
    CacheFolder,
    Data,
    Json,
    Model,
    Quiet,
    RecipeFile,
    SessionThreads,
    Set,
    TargetName,
    overrides,
    seconds,
)


def analyze(
    model: Model,
    recipe: RecipeFile = None,
    target: TargetName = None,
    data: Data = None,
    budget: Annotated[
        str | None, typer.Option(help="Stop with what is known after this time, such as 60s or 5m.", show_default=False)
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write the analysis as JSON to this file.", show_default=False)
    ] = None,
    rows: Annotated[int, typer.Option(min=1, help="Rows of each table.")] = 12,
    threads: SessionThreads = 1,
    cache: CacheFolder = None,
    set_: Set = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> int:
    """Show where accuracy goes: what each layer and tensor costs in accuracy and buys in time, and rules for the worst.

    Examples:

    qconvert analyze model.onnx -t x86-vnni -d dataset/

    qconvert analyze model.onnx -r recipe.yaml -d dataset/ --budget 60s --json
    """
    from ..pipeline.analyze import analyze_model
    from ..pipeline.asked import Asked
    from ..pipeline.resolve import request_of
    from ..pipeline.storage.staging import write_text
    from ..report.analysis import analysis_text

    limit = None if budget is None else seconds(budget, "--budget")
    place = output or Path("analysis.json")
    targets, changes = () if target is None else (target,), overrides(set_)
    asked = Asked(
        model,
        place.with_suffix(".onnx"),
        data,
        recipe,
        targets,
        changes,
        evaluate=False,
        threads=threads,
        cache=cache,
    )
    request, notes = request_of(asked)
    if not quiet:
        show_diagnostics(notes)
    with progress(quiet) as listener:
        found = analyze_model(request, limit, listener)
    text = found.model_dump_json(indent=1) + "\n"
    if output is not None:
        write_text(output, text, (model, *((data,) if data is not None else ())))
    if as_json:
        print(text, end="")
    elif not quiet:
        out().print(analysis_text(found, rows))
    return 0
