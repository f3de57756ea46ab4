"""Which range method suits the model: all are tried on the same statistics, the best on held-out samples stays."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from ..calibrate import RANGE_METHODS, activation_params, weight_params
from ..data.settings import Settings
from .draft import Draft, Lab


class RangeChoice(Settings):
    """Settings of `ranges`."""

    methods: Annotated[tuple[str, ...], Field(min_length=1)] = Field(
        default=("mse", "min-max", "percentile"), description="methods to try"
    )


def choose_ranges(draft: Draft, lab: Lab, settings: RangeChoice) -> Draft:
    """The draft with the ranges of the best method; the draft itself if no tensor has a range from data."""
    if not draft.plan.taps:
        return draft
    drafts = {method: _with_method(draft, lab, method) for method in settings.methods if method in RANGE_METHODS}
    scores = {method: lab.score(candidate) for method, candidate in drafts.items()}
    best = max(scores, key=lambda method: scores[method])
    return drafts[best]


def _with_method(draft: Draft, lab: Lab, method: str) -> Draft:
    calibration = lab.calibration.model_copy(update={"method": method})
    activations = activation_params(draft.plan, draft.sketches, calibration)
    return draft.with_(
        activations=activations, weights=weight_params(draft.graph, draft.plan, activations, calibration)
    )
