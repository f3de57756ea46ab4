"""`qconvert inspect`."""

from __future__ import annotations

from .console import out
from .options import Json, Model


def inspect(model: Model, as_json: Json = False) -> int:
    """Show inputs, outputs, opset, operators, parameters, MACs, the largest tensors, and what would block each target."""
    from ..pipeline.inspect import inspect_model
    from ..report.inspect import inspection_text

    found = inspect_model(model)
    if as_json:
        print(found.model_dump_json(indent=1))
    else:
        out().print(inspection_text(found))
    return 0
