"""Whether the mode that a recipe asks for is found in the plan at all."""

from __future__ import annotations

from ..errors import Diagnostic, Severity
from ..plan import Kind, NodePlan, Plan
from ..recipe import Recipe
from ..targets import Target

_STORED = frozenset({Kind.WEIGHT_ONLY, Kind.LOOKUP})
_KINDS = {"dynamic": frozenset({Kind.DYNAMIC}), "weight-only": _STORED, "codebook": _STORED}


def unmet_mode(recipe: Recipe, target: Target, chosen: Plan) -> tuple[Diagnostic, ...]:
    """A warning where no node became what `mode` asks for, so that the result is that of another mode."""
    kinds = _KINDS.get(recipe.mode, frozenset())
    if not kinds or any(node.kind in kinds for node in chosen.nodes.values()):
        return ()
    text, hint = _dynamic(target, chosen) if recipe.mode == "dynamic" else _stored(chosen)
    return (Diagnostic("P102", text, None, hint, Severity.WARNING),)


def _dynamic(target: Target, chosen: Plan) -> tuple[str, str]:
    static = chosen.count(Kind.INTEGER)
    are = "node is" if static == 1 else "nodes are"
    instead = f"{static} {are} static, with ranges from data" if static else "nothing runs in integers"
    ops = ", ".join(target.kernels.dynamic)
    text = f"no node has ranges that are measured at run time; {instead}"
    return text, f"{target.title} can do that for {ops} with constant weights; `mode: static` asks for the rest"


def _stored(chosen: Plan) -> tuple[str, str]:
    heaviest = max(chosen.nodes.values(), key=_weighs, default=None)
    why = f": {heaviest.reason.text}" if heaviest is not None and heaviest.reason else ""
    text = f"no weight is stored in fewer bits, the result is a float model{why}"
    return text, "choose another mode, or other `levels`, `bits` or `block`; `qconvert plan --all` has every reason"


def _weighs(node: NodePlan) -> int:
    return node.macs
