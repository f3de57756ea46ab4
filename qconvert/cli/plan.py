"""`qconvert plan`."""

from __future__ import annotations

from typing import Annotated

import typer

from .console import out, show_diagnostics
from .options import Bits, Block, FormatName, Json, Mode, Model, RecipeFile, Set, TargetName, overrides


def plan(
    model: Model,
    recipe: RecipeFile = None,
    target: TargetName = None,
    why: Annotated[
        str | None, typer.Option(help="Explain one node (name, or part of one).", show_default=False)
    ] = None,
    mode: Mode = None,
    bits: Bits = None,
    block: Block = None,
    format_: FormatName = None,
    everything: Annotated[bool, typer.Option("--all", help="List every node instead of groups.")] = False,
    set_: Set = None,
    as_json: Json = False,
) -> int:
    """Show, without data, what becomes integer, what stays float and why, and the predicted size and speed.

    Examples:

    qconvert plan model.onnx -t x86-vnni

    qconvert plan model.onnx -t x86-vnni --mode weight-only

    qconvert plan model.onnx -t tensorrt --why conv1
    """
    from ..errors import Severity
    from ..pipeline.events import Stages
    from ..pipeline.planning import plan_of
    from ..pipeline.recording.record import plan_info
    from ..pipeline.resolve import chosen_recipe
    from ..report.plan import named_nodes, node_table, plan_text, why_text

    changes = overrides(set_, {"mode": mode, "weights.bits": bits, "weights.block": block, "format": format_})
    chosen = chosen_recipe(recipe, () if target is None else (target,), changes)
    stages = Stages()
    planned = plan_of(model, chosen.recipe, stages, chosen.source, folder=chosen.base)
    info = plan_info(planned, chosen.recipe.format or planned.target.artefact.formats[0])
    show_diagnostics([*chosen.notes, *(d for d in stages.diagnostics if everything or d.severity is Severity.WARNING)])
    if as_json:
        shown = info if why is None else info.model_copy(update={"nodes": named_nodes(info, why)})
        print(shown.model_dump_json(indent=1))
    elif why is not None:
        out().print(why_text(info, why))
    else:
        out().print(node_table(info) if everything else plan_text(info, planned.canonical.applied))
    return 0
