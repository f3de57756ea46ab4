"""A screening of a draft with what is needed to read it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ...targets import Target
from ..draft import Draft, Lab
from .moved import MovedPlan
from .moves import Board
from .screen import DIRECTIONS, Screening, screen
from .sources import ErrorSource, sources

SAMPLES = 16
Progress = Callable[[int, int], None]


@dataclass(frozen=True, eq=False)
class Sight:
    """A screening of a draft with what is needed to read it.

    Attributes:
        corrected: errors' means are taken back by biases.
    """

    draft: Draft
    target: Target
    found: Screening
    state: MovedPlan
    board: Board
    corrected: bool


def look(
    draft: Draft,
    lab: Lab,
    target: Target,
    progress: Progress,
    enough: Callable[[], bool] = lambda: False,
    only: Sequence[ErrorSource] = (),
    samples: int = SAMPLES,
    directions: int = DIRECTIONS,
) -> Sight | None:
    """Screen a draft on some of the samples that algorithms learn from; None if nothing is quantized.

    Args:
        enough: asked between samples whether to stop.
        only: sources to look at instead of all that the draft has.
        samples, directions: to look at, and from, in all.
    """
    places = tuple(only) or sources(draft, target)
    if not places:
        return None
    feeds, threads = lab.fit[:samples], lab.options.threads
    found = screen(draft.reference, lab.probes, places, feeds, threads, progress, enough, directions)
    state = MovedPlan(draft.reference, draft.plan, target, draft.plan.nodes)
    corrected = bias_corrected(draft)
    return Sight(draft, target, found, state, Board(found, state, corrected), corrected)


def bias_corrected(draft: Draft) -> bool:
    """Whether an algorithm has changed the biases, so that the errors' means are gone."""
    for name, _ in draft.plan.weights:
        after, before = draft.graph.by_name.get(name), draft.reference.by_name.get(name)
        if after is not None and before is not None and len(after.inputs) > 2 and after.op != "MatMul":
            new, old = draft.graph.constant(after.input(2)), draft.reference.constant(before.input(2))
            if new is not None and (old is None or not np.array_equal(new, old)):
                return True
    return False
