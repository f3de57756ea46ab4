"""From statistics to the best draft that the recipe's algorithms find; conversions and trials make theirs here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from threadpoolctl import threadpool_limits

from ...calibrate import Sketch
from ...data import Dataset
from ...errors import Diagnostic, Severity
from ...optimize import AlgorithmStep, Draft, Lab, applicable, improve
from ...recipe import Recipe, SourceMap
from ..events import Stages
from ..planning import Planned, rewritten
from ..storage.cache import Cache
from ..storage.cached_steps import CachedMemo
from ..words import vocabulary
from .accuracy import circumstances, first_draft, laboratory, steps_of
from .half import within_range
from .infinite import without_infinite
from .noise import without_noise


@dataclass(frozen=True, eq=False)
class Drafted:
    """The best draft that a recipe gives.

    Attributes:
        planned: the plan and graph that the draft is of.
        lab: where drafts of the plan are judged; without data it has no samples.
        steps: what the algorithms came to; skipped: names of those that there was no time for.
    """

    planned: Planned
    draft: Draft
    lab: Lab
    steps: tuple[AlgorithmStep, ...] = ()
    skipped: tuple[str, ...] = ()


def drafted(
    planned: Planned,
    dataset: Dataset | None,
    sketches: Mapping[str, Sketch],
    recipe: Recipe,
    source: SourceMap | None,
    stages: Stages,
    threads: int,
    enough: Callable[[], bool] = lambda: False,
    cache: Cache | None = None,
) -> Drafted:
    """Everything between calibration and the file: infinite values, noise and 16-bit ranges, first draft, and the recipe's algorithms on it.

    Args:
        planned: as the recipe says.
        enough: asked before each algorithm whether to leave it and the rest out.
        cache: where steps of the algorithms are found that were run before.

    Raises:
        QConvertError: R005 for settings of an algorithm that do not fit, R009 for algorithms that do not go together.
    """
    planned, sketches = without_infinite(planned, sketches, dataset, recipe, source, threads)
    sketches = without_noise(planned.graph, sketches)
    planned = within_range(planned, sketches, recipe, source)
    with stages.stage("weights") as progress:
        draft = first_draft(planned, sketches, recipe, progress)
    lab = laboratory(planned, dataset, recipe, source, threads)
    wanted = dataset is not None and (planned.plan.weights or recipe.half)
    steps = applicable(steps_of(recipe, vocabulary(), planned), draft.plan) if wanted else []
    done: tuple[AlgorithmStep, ...] = ()
    if steps and dataset is not None:
        memo = None if cache is None else CachedMemo(cache, circumstances(lab, planned, recipe, dataset))
        judge = lab if memo is None else replace(lab, memo=memo)
        # sums in another order would give other bytes, and small products are faster so
        with stages.stage("optimize") as progress, threadpool_limits(1, "blas"):
            draft, done = improve(draft, judge, steps, progress, enough)
        stages.note(*(memo.notes(len(done)) if memo is not None else ()), *map(_told, (s for s in done if s.held_back)))
    skipped = tuple(step.name for step in steps[len(done) :])
    return Drafted(rewritten(planned, draft.plan, draft.reference), draft, lab, done, skipped)


def _told(step: AlgorithmStep) -> Diagnostic:
    text = f"{step.name} worked on less than it would have: {step.held_back}"
    return Diagnostic("R102", text, "algorithms", "raise the limit where there is room for it", Severity.NOTE)
