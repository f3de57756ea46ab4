"""What an accuracy algorithm is, and how a list of them is run: each step is kept only if it helps on held-out samples."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ..data.settings import Settings
from ..plan import Plan
from .draft import Draft, Lab, Settle, StepOutcome, qualified
from .step import AlgorithmStep


@dataclass(frozen=True)
class Algorithm:
    """One row of the table.

    Attributes:
        title: what it does, for people.
        settings: type of its settings in the recipe; its defaults are used by `auto`.
        run: improves a draft.
        applies: whether a plan has what it works on; elsewhere the step is left out.
        auto: part of `algorithms: auto`, in the order of the table; the others run only where a recipe names them.
        afresh: it starts from FP32 weights, so that nothing is left of a rounding before it.
        rounds: it decides how weights are rounded; one of these is enough.
        settled: a quick form of it, if what comes before must be judged together with it: ranges that look worse with the mean
            errors that they make may be better once those are taken out.
        portable: the result depends on the numbers of the draft and the laboratory alone, not on predicted times, reasons or
            the target, and plans are not made again; only then it is taken over between runs (see `stored`).
        moves_ranges: it moves the ranges of single tensors, so that a search need not try other range methods for them.
        held_back: what the limits in its settings leave out for a draft, in words; "" where they do not bind.
    """

    title: str
    settings: type[Settings]
    run: Callable[[Draft, Lab, Any], Draft]
    auto: bool = True
    applies: Callable[[Plan], bool] = lambda plan: bool(plan.weights)
    afresh: bool = False
    rounds: bool = False
    settled: Callable[[Draft, Lab], Draft] | None = None
    portable: bool = False
    moves_ranges: bool = False
    held_back: Callable[[Draft, Lab, Any], str] = lambda draft, lab, settings: ""


def in_integers(plan: Plan) -> bool:
    """Whether what is quantized is so to evenly spaced codes, which algorithms about ranges are for."""
    return bool(plan.weights) and not any(w.format.floating for w in plan.weights.values())


class AutoSteps(Settings):
    """Settings of the entry `auto` in a list of algorithms: there are none."""


@dataclass(frozen=True)
class Step:
    """One algorithm to run.

    Attributes:
        always: keep its change whatever it does to the score, as it was asked for by name.
    """

    name: str
    algorithm: Algorithm
    settings: Settings
    always: bool = False


_WORTH_DB = 0.15  # less is noise of the held-out samples


def applicable(steps: Sequence[Step], plan: Plan) -> list[Step]:
    """The steps that find something to work on in a plan."""
    return [step for step in steps if step.algorithm.applies(plan)]


def improve(
    draft: Draft,
    lab: Lab,
    steps: Sequence[Step],
    progress: Callable[[int, int], None],
    enough: Callable[[], bool] = lambda: False,
) -> tuple[Draft, tuple[AlgorithmStep, ...]]:
    """Run algorithms one after the other; a step that does not gain is dropped unless it was asked for by name.

    Args:
        enough: asked before each step whether to leave it and the rest out.
    """
    steps = applicable(steps, draft.plan)
    if not steps:
        return draft, ()
    done: list[AlgorithmStep] = []
    best, score = draft, None
    judged: Settle | None = None
    for n, step in enumerate(steps):
        if enough():
            break
        start = time.perf_counter()
        coming = next((s.algorithm.settled for s in steps[n + 1 :] if s.algorithm.settled), None)
        if coming is not judged:
            judged, score = coming, None
        found = _remembered(step, best, lab, judged, score)
        done.append(
            AlgorithmStep(
                name=step.name,
                kept=found.draft is not None,
                before_db=found.before,
                after_db=found.after,
                corrected=judged is not None,
                seconds=time.perf_counter() - start,
                settings=step.settings.model_dump(mode="json"),
                held_back=found.held_back,
            )
        )
        best, score = (best, found.before) if found.draft is None else (found.draft, found.after)
        progress(n + 1, len(steps))
    return best, tuple(done)


def _remembered(step: Step, best: Draft, lab: Lab, judged: Settle | None, score: float | None) -> StepOutcome:
    """What a step comes to, from an earlier run where it depends on nothing else."""
    if not step.algorithm.portable:
        return _outcome(step, best, lab, judged, score)
    run, settle = qualified(step.algorithm.run), qualified(judged) if judged else ""
    about = repr((step.name, run, step.settings.model_dump_json(), step.always, settle))
    return lab.memo.outcome(about, best, lambda: _outcome(step, best, lab, judged, score))


def _outcome(step: Step, best: Draft, lab: Lab, judged: Settle | None, score: float | None) -> StepOutcome:
    before = lab.score(best, judged) if score is None else score
    candidate = step.algorithm.run(best, lab, step.settings)
    after = lab.score(candidate, judged) if candidate is not best else before
    kept = candidate is not best and (step.always or after > before + _WORTH_DB)
    told = step.algorithm.held_back(best, lab, step.settings)
    return StepOutcome(before, after, candidate if kept else None, told)
