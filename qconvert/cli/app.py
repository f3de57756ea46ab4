"""The application: its commands and global options."""

from __future__ import annotations

from typing import Annotated

import typer

from .. import __version__
from . import (
    analyze,
    cache,
    check,
    compare,
    convert,
    emulator,
    evaluate,
    explain,
    inspect,
    plan,
    recipe,
    report,
    targets,
    tune,
)

app = typer.Typer(
    name="qconvert",
    help="Convert FP32 ONNX models to proven smaller and faster ones, and say why.",
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain help: rich would double the time of `qconvert --help`
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"qconvert {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Convert FP32 ONNX models to proven smaller and faster ones, and say why."""


app.command("convert")(convert.convert)
app.command("plan")(plan.plan)
app.command("analyze")(analyze.analyze)
app.command("tune")(tune.tune)
app.command("compare")(compare.compare)
app.command("evaluate")(evaluate.evaluate)
app.command("inspect")(inspect.inspect)
app.command("report")(report.report)
app.command("check")(check.check)
app.add_typer(recipe.app, name="recipe")
app.add_typer(emulator.app, name="emulator")
app.add_typer(cache.app, name="cache")
app.command("targets")(targets.targets)
app.command("explain")(explain.explain)
