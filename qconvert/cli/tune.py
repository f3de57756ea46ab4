"""`qconvert tune`."""

from __future__ import annotations

import sys
from math import isfinite
from typing import Annotated

import typer

from ..errors import fail
from .console import out, progress, show_diagnostics
from .options import (
    CacheFolder,
    Data,
    Json,
    Model,
    Output,
    Quiet,
    RecipeFile,
    Set,
    TargetName,
    Threads,
    overrides,
    positive,
    seconds,
    share,
)


def tune(
    model: Model,
    recipe: RecipeFile = None,
    target: TargetName = None,
    data: Data = None,
    output: Output = "out",
    max_drop: Annotated[
        str | None,
        typer.Option(
            help="Largest drop of the task metric, in its own unit (0.5% is 0.005), or without labels of the agreement with FP32.",
            show_default=False,
        ),
    ] = None,
    min_sqnr: Annotated[float | None, typer.Option(help="Smallest output SQNR in dB.", show_default=False)] = None,
    min_speedup: Annotated[
        float | None, typer.Option(help="Smallest measured speed-up over FP32 on this host.", show_default=False)
    ] = None,
    limit: Annotated[
        str | None,
        typer.Option("--time", help="Begin no further attempt after this time, such as 10m.", show_default=False),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where an interrupted search stopped.")] = False,
    threads: Threads = 1,
    cache: CacheFolder = None,
    set_: Set = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> int:
    """Search for the cheapest recipe that is accurate enough, convert with it, and show the trade-off.

    Examples:

    qconvert tune model.onnx -t x86-vnni -d dataset/ --max-drop 0.5% -o out/

    qconvert tune model.onnx -r recipe.yaml -d dataset/ --min-sqnr 20 --min-speedup 1.5 --time 10m
    """
    from ..pipeline.asked import Asked
    from ..pipeline.resolve import request_of
    from ..pipeline.tune import TuneRequest
    from ..pipeline.tune import tune as run
    from ..report.pareto import tune_text

    if min_sqnr is not None and not isfinite(min_sqnr):
        raise fail("R011", f"`--min-sqnr` wants a number of dB: {min_sqnr}", None, "for instance `--min-sqnr 20`")
    speedup = None if min_speedup is None else positive(min_speedup, "--min-speedup")
    drop = None if max_drop is None else share(max_drop, "--max-drop")
    time = None if limit is None else seconds(limit, "--time")
    targets = () if target is None else (target,)
    request, notes = request_of(
        Asked(model, output, data, recipe, targets, overrides(set_), threads=threads, cache=cache)
    )
    if not quiet:
        show_diagnostics(notes)
    with progress(quiet) as listener:
        goals = TuneRequest(request, drop, min_sqnr, speedup, time, resume)
        found = run(goals, listener, lambda line: None if quiet else print(line, file=sys.stderr, flush=True))
    if as_json:
        print(found.model_dump_json(indent=1))
    elif not quiet:
        out().print(tune_text(found))
    if not found.reached and (quiet or as_json):
        print("goals not met: " + "; ".join(found.trials[found.winner].limits), file=sys.stderr)
    return 0 if found.reached else 5
