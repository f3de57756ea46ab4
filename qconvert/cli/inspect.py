"""`qconvert inspect`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..errors import fail
from .console import out
from .options import Json, Model, TargetName

_ONE = "`--target` goes with `--html`, which draws one page; the text and `--json` show all targets"


def inspect(
    model: Model,
    html: Annotated[
        Path | None,
        typer.Option(help="Draw the graph as one HTML page into this file instead.", show_default=False),
    ] = None,
    target: TargetName = None,
    as_json: Json = False,
) -> int:
    """Show inputs, outputs, opset, operators, parameters, MACs, the largest tensors, and what would block each target.

    With --html the graph is drawn: FP32 models with what the target makes of each node and why, quantized models and .tflite
    files with what runs in integers.

    Examples:

    qconvert inspect model.onnx

    qconvert inspect model.onnx -t arm-neon --html graph.html
    """
    if html is None or as_json:
        if html is not None or target is not None:
            raise fail("R011", _ONE, None, "leave `--json` out, or give `--html FILE`")
        _show(model, as_json)
        return 0
    from ..pipeline.models.drawing import draw_model
    from ..pipeline.planning import target_named
    from ..pipeline.storage.staging import write_text
    from ..recipe import Recipe
    from ..report.drawing import to_page

    recipe = Recipe() if target is None else Recipe(target=target_named(target).name)
    write_text(html, to_page(draw_model(model, recipe)), (model,))
    print(f"wrote {html}")
    return 0


def _show(model: Path, as_json: bool) -> None:
    from ..pipeline.inspect import inspect_model
    from ..report.inspect import inspection_text

    found = inspect_model(model)
    if as_json:
        print(found.model_dump_json(indent=1))
    else:
        out().print(inspection_text(found))
