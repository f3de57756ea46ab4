"""Sensitivity of a model's layers and tensors under a recipe."""

from __future__ import annotations

import time
from collections.abc import Sequence

from ..optimize.sensitivity import Move, look
from ..recipe.dump import to_yaml
from ..tune import Analysis, analyze, rules_for
from .events import Listener, Stages, silent
from .request import Request
from .tuning.candidates import Workshop

_ALGORITHMS = 0.5  # share of the budget after which no further algorithm is begun


def analyze_model(request: Request, budget: float | None = None, listener: Listener = silent) -> Analysis:
    """Quantize as the recipe says, and price every source of error.

    Args:
        budget: seconds in all, after which no further step is begun; the first sample is always looked at.

    Raises:
        QConvertError: whatever is wrong with model, recipe or data.
    """
    start = time.monotonic()

    def spent(share: float) -> bool:
        return budget is not None and time.monotonic() - start > share * budget

    stages = Stages(listener)
    workshop = Workshop(request, stages)
    built = workshop.build(request.recipe, request.source, lambda: spent(_ALGORITHMS))
    with stages.stage("sensitivity") as progress:
        sight = look(built.draft, built.lab, built.planned.target, progress, lambda: spent(1.0))
    if sight is None:
        return _nothing(request, built.planned.plan.prediction.float_ns)
    with stages.stage("check") as progress:
        found = analyze(sight, built.lab, request.model.name, workshop.known, rules_text, progress, lambda: spent(1.0))
    skipped = tuple(f"algorithm {name}: the budget was spent" for name in built.skipped)
    return found.model_copy(update={"left_out": (*skipped, *found.left_out)})


def rules_text(moves: Sequence[Move]) -> str:
    """Moves as the `rules:` block of a recipe."""
    rules = [rule.model_dump(mode="json", exclude_none=True) for rule in rules_for(moves)]
    return to_yaml({"rules": rules})


def _nothing(request: Request, ns: float | None) -> Analysis:
    us = None if ns is None else ns / 1000
    return Analysis(
        target=request.recipe.target,
        model=request.model.name,
        predicted_db=float("inf"),
        measured_db=None,
        float_us=us,
        us=us,
        samples=0,
        corrected=False,
        left_out=("nothing is quantized: `qconvert plan` says why",),
    )
