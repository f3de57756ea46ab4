"""Activations with infinite values, such as additive masks: no range holds them, so what touches them stays float."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import isinf

from ...calibrate import Sketch, Sketcher, collect
from ...data import Dataset
from ...plan import Exceptions, Reason, around
from ...recipe import Recipe, SourceMap
from ..planning import Planned, replanned


def without_infinite(
    planned: Planned,
    sketches: Mapping[str, Sketch],
    dataset: Dataset | None,
    recipe: Recipe,
    source: SourceMap | None,
    threads: int,
) -> tuple[Planned, Mapping[str, Sketch]]:
    """The plan with every node float whose scales would have to hold infinity, and the statistics of all that it quantizes.

    Targets that run integers only keep their plan, and NaN is no mask: both are refused where ranges are made.
    """
    found = dict(sketches)
    while not planned.target.placement.whole and (kept := _kept(planned, found)):
        planned = replace(planned, kept={**planned.kept, **kept})
        planned = replace(planned, plan=replanned(planned, recipe, source, Exceptions(), planned.graph))
        found |= _missing(planned, found, dataset, threads)
    return planned, found


def _kept(planned: Planned, sketches: Mapping[str, Sketch]) -> dict[str, Reason]:
    """Nodes that write or read a tensor which shares its scale with one that takes infinite values."""
    plan, found = planned.plan, dict[str, Reason]()
    for group, taps in plan.group_taps.items():
        wide = next((name for name in taps if name in sketches and isinf(sketches[name].reach)), None)
        if wide is not None:
            reason = Reason("P007", f"`{wide}` takes infinite values, as masks do")
            members = [name for name, tensor in plan.tensors.items() if tensor.group == group]
            found.update({node: reason for name in members for node in around(plan, planned.graph, name)})
    return found


def _missing(
    planned: Planned, sketches: Mapping[str, Sketch], dataset: Dataset | None, threads: int
) -> dict[str, Sketch]:
    """Statistics of tensors that the plan has come to quantize."""
    names = [name for name in planned.plan.observed if name not in sketches]
    if not names or dataset is None:
        return {}
    sketchers = {name: Sketcher() for name in names}
    collect(planned.graph, dataset.calibration, {name: (s,) for name, s in sketchers.items()}, threads)
    return {name: sketcher.result() for name, sketcher in sketchers.items()}
