"""Ranges by their effect on the output: each end of each range is moved a little, and what helps the whole model stays.

A range method sees one tensor; whether its outliers or its small values matter is only known at the output. The search is a
coordinate descent over scale groups, in graph order, on samples to learn from. Its cost is known before it starts, so that it
is only made where it takes seconds, and the result does not depend on the clock.
"""

from __future__ import annotations

from dataclasses import replace
from math import inf
from typing import Annotated

from pydantic import Field

from ..calibrate import QuantParams, params_for_range
from ..data.settings import Settings
from ..plan import Plan
from .draft import Draft, Lab

_MOVES = (
    (1.0, 0.9),
    (1.0, 1.1),
    (0.9, 1.0),
    (1.1, 1.0),
    (1.0, 0.8),
    (1.0, 1.25),
)  # factors on the low and the high end
_LEAST_DB = 0.01


class Refinement(Settings):
    """Settings of `refine`."""

    samples: Annotated[int, Field(ge=1)] = Field(default=64, description="samples to learn from, at most")
    least: Annotated[int, Field(ge=1)] = Field(
        default=16, description="where fewer samples than this are affordable, nothing is done"
    )
    work: Annotated[float, Field(gt=0)] = Field(
        default=1e11, description="multiply-accumulates that the search may cost"
    )


def refine(draft: Draft, lab: Lab, settings: Refinement) -> Draft:
    """The draft with ranges moved for the least error at the output."""
    groups: dict[int, list[str]] = {}
    for name, plan in draft.plan.tensors.items():
        groups.setdefault(plan.group, []).append(name)
    dictated = {plan.group for plan in draft.plan.tensors.values() if plan.fixed is not None}  # by the kernel
    groups = {group: names for group, names in groups.items() if group not in dictated}
    trials = max(len(groups) * len(_MOVES), 1)
    count = min(settings.samples, int(settings.work / (trials * max(draft.plan.prediction.macs, 1))), len(lab.fit))
    if not groups or count < min(settings.least, len(lab.fit)):
        return draft
    bench = replace(lab, held_out=lab.fit[:count])
    best, score = draft, bench.score(draft)
    for names in groups.values():
        for low, high in _MOVES:
            moved = _moved(best.activations[names[0]], low, high, _bounds(draft.plan, names))
            if moved is None:
                continue
            candidate = best.with_(activations={**best.activations, **dict.fromkeys(names, moved)})
            after = bench.score(candidate)
            if after > score + _LEAST_DB:
                best, score = candidate, after
    return best


def _bounds(plan: Plan, names: list[str]) -> tuple[float, float]:
    """Interval that the codes must not leave: an absorbed clamp vanishes only into a range within its bounds."""
    found = [b for name in names if (b := plan.tensors[name].bounds) is not None]
    return max((low for low, _ in found), default=-inf), min((high for _, high in found), default=inf)


def _moved(params: QuantParams, low: float, high: float, bounds: tuple[float, float]) -> QuantParams | None:
    """Parameters of a range with its ends moved; None where that changes nothing."""
    start, end = float(params.low), float(params.high)
    if params.format.symmetric:
        reach = min(end * high, max(-bounds[0], bounds[1]))
        return params_for_range(params.format, -reach, reach) if low == 1 else None
    ends = max(start * low, bounds[0]), min(end * high, bounds[1])
    return None if ends == (start, end) else params_for_range(params.format, *ends)
