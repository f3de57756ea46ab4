"""Measured error of 16-bit floats: operators whose rounding costs most of the accuracy go back to float32.

The block list knows operators that are dangerous in general; here the model itself is asked. All nodes of one operator are
tried together, since they mostly err alike, and the operator that gains most stays in float32; then the next.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from ..data.settings import Settings
from ..ops import COPIES, NO_OPS
from ..plan import Exceptions, Kind, Plan, Reason
from .draft import Draft, Lab


class HalfPrecision(Settings):
    """Settings of `half`."""

    enough: float = Field(
        default=35.0, description="output SQNR in dB, every 16-bit value rounded, at which nothing goes back to float32"
    )
    gain: Annotated[float, Field(gt=0)] = Field(default=1.0, description="dB that an operator in float32 must gain")
    rounds: Annotated[int, Field(ge=0)] = Field(default=3, description="most operators that go back to float32")


def in_half(plan: Plan) -> bool:
    """Whether anything computes in 16-bit floats."""
    return plan.count(Kind.HALF) > 0


def half_precision(draft: Draft, lab: Lab, settings: HalfPrecision) -> Draft:
    """The draft with the operators in float32 that need it most."""
    best, score, kept = draft, None, dict[str, Reason]()
    for _ in range(settings.rounds):
        groups = _groups(best)
        if not groups:
            return best
        score = lab.score(best) if score is None else score
        if score >= settings.enough:
            return best
        trials = []
        for op, names in groups.items():
            more = {
                **kept,
                **{name: Reason("P014", f"rounding after {op} was measured to cost accuracy") for name in names},
            }
            candidate = best.with_(plan=lab.replan(Exceptions(more), lab.graph))
            trials.append((lab.score(candidate), op, more, candidate))
        after, _, more, candidate = max(trials, key=lambda trial: (trial[0], trial[1]))
        if after < score + settings.gain:
            return best
        best, score, kept = candidate, after, more
    return best


def _groups(draft: Draft) -> dict[str, list[str]]:
    """Names of the 16-bit nodes that compute, by operator."""
    found: dict[str, list[str]] = {}
    for node in draft.graph.nodes:
        chosen = draft.plan.nodes.get(node.name)
        if chosen is not None and chosen.kind is Kind.HALF and node.op not in _MOVES:
            found.setdefault(node.op, []).append(node.name)
    return found


_MOVES = COPIES | NO_OPS | {
    "Concat", "Pad", "Shape", "Cast", "Relu", "MaxPool", "Where", "Constant", "ConstantOfShape", "ReduceMax"
}  # fmt: skip
