"""`qconvert recipe check|schema|init`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .options import Model, TargetName

app = typer.Typer(help="Validate recipes, print their JSON Schema, write a starting recipe.")


@app.command()
def check(
    recipes: Annotated[list[Path], typer.Argument(help="Recipe files.", show_default=False)],
    model: Annotated[
        Path | None, typer.Option("--model", "-m", help="Check the rules against this model too.", show_default=False)
    ] = None,
) -> int:
    """Validate recipes; every mistake is shown with file, line and column."""
    from ..pipeline.recipes import check_recipes

    for path, target in check_recipes(recipes, model):
        print(f"{path}: fine, for {target}")
    return 0


@app.command()
def schema() -> int:
    """Print the JSON Schema of recipes, for editors."""
    import json

    from ..pipeline.words import vocabulary
    from ..recipe import schema as make_schema

    print(json.dumps(make_schema(vocabulary()), indent=2))
    return 0


@app.command()
def init(
    model: Model,
    target: TargetName = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="Write to this file instead of stdout; an existing one is kept.", show_default=False
        ),
    ] = None,
) -> int:
    """Write a commented starting recipe that fits a model."""
    from ..pipeline.recipes import initial_recipe, write_new

    text = initial_recipe(model, target)
    if output is None:
        print(text, end="")
    else:
        write_new(output, text)
        print(f"wrote {output}")
    return 0
