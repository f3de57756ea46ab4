"""Which range method suits the model: all are tried on the same statistics, the best on held-out samples stays."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from ..calibrate import RANGE_METHODS, activation_params, weight_params
from ..data.settings import Settings
from ..errors import fail
from .draft import Draft, Lab


class RangeChoice(Settings):
    """Settings of `ranges`."""

    methods: Annotated[tuple[str, ...], Field(min_length=1)] = Field(
        default=("mse", "min-max", "percentile"), description="methods to try"
    )


def choose_ranges(draft: Draft, lab: Lab, settings: RangeChoice) -> Draft:
    """The draft with the ranges of the best method; the draft itself if none is better.

    Raises:
        QConvertError: R005 for a method that does not exist.
    """
    if not draft.plan.taps:
        return draft
    unknown = [method for method in settings.methods if method not in RANGE_METHODS]
    if unknown:
        raise fail(
            "R005",
            f"no range method is called {unknown[0]}",
            "algorithms.ranges.methods",
            f"there are {', '.join(RANGE_METHODS)}",
        )
    drafts = {"": draft, **{method: _with_method(draft, lab, method) for method in settings.methods}}
    scores = {method: lab.score(candidate) for method, candidate in drafts.items()}
    best = max(scores, key=lambda method: scores[method])
    return drafts[best]


def _with_method(draft: Draft, lab: Lab, method: str) -> Draft:
    calibration = lab.calibration.measured(method)
    activations = activation_params(draft.plan, draft.sketches, calibration)
    return draft.with_(
        activations=activations, weights=weight_params(draft.graph, draft.plan, activations, calibration)
    )
