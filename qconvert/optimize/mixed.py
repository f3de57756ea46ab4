"""Mixed precision: the few layers and tensors that cost most of the accuracy get more bits, or stay float.

What every rounding costs at the outputs is priced at once (see `sensitivity`), by first order and without the means that
biases take back. The changes that gain most for their predicted time and size are then made one after the other, and measured.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated

from pydantic import Field

from ..calibrate import QuantParams, Sketch, Sketcher, activation_params, weight_params
from ..canonicalize.opset import raise_opset
from ..data.settings import Settings
from ..graph import Graph
from ..plan import Exceptions, Kind, Plan, Reason
from ..runtime import Options, opened
from .draft import Draft, Lab
from .reconstruct import Reconstruction, reconstruct
from .sensitivity import Move, MovedPlan, candidates, ladder, look


class MixedPrecision(Settings):
    """Settings of `mixed`."""

    below: float = Field(default=15.0, description="only where the output SQNR in dB is lower than this")
    enough: float = Field(default=20.0, description="output SQNR in dB at which nothing more is changed")
    gain: Annotated[float, Field(gt=0)] = Field(default=0.5, description="dB that each change must gain")
    most: Annotated[int, Field(ge=1)] = Field(default=32, description="most changes in a round")
    rounds: Annotated[int, Field(ge=1)] = Field(default=2, description="most rounds")
    integer_macs: Annotated[float, Field(ge=0, le=1)] = Field(
        default=0.7, description="least share of the multiply-accumulates that stays integer"
    )
    small_weights: Annotated[float, Field(ge=0, le=1)] = Field(
        default=0.8, description="least share of the weights of 4 bits that keep them"
    )
    speedup: Annotated[float, Field(ge=0)] = Field(
        default=1.1, description="least predicted speed-up that must remain, where the target has a cost model"
    )
    samples: Annotated[int, Field(ge=1)] = Field(default=4, description="samples on which errors are priced")


def mixed_precision(draft: Draft, lab: Lab, settings: MixedPrecision) -> Draft:
    """The draft with more bits for what costs most, and reconstructed again.

    Every round prices the best draft so far, since large errors change what others cost.
    """
    if not draft.plan.tensors or lab.score(draft) >= settings.below:
        return draft
    start = best = _State(draft, lab.score(draft), ())
    share = 1.0  # of what is predicted that has come true
    for _ in range(settings.rounds):
        moves = _priced(best.draft, lab, settings)
        if not _worthwhile(moves, share, settings):
            break
        after = _round(best, moves, lab, settings)
        if after is best or after.score >= settings.enough:
            best = after
            break
        share = (after.score - best.score) / _predicted(moves, len(after.moves) - len(best.moves))
        best = after
    if best is start:
        return draft
    return reconstruct(planned_again(best.draft, lab, best.draft.plan), lab, Reconstruction())


@dataclass(frozen=True, eq=False)
class _State:
    draft: Draft
    score: float
    moves: tuple[Move, ...]


def _round(start: _State, moves: Sequence[Move], lab: Lab, settings: MixedPrecision) -> _State:
    """The state behind the fewest of the first moves that are worth it; `start` where none are.

    So many of them are made as reach the goal by prediction, and taken back by halving as long as that loses little. Where
    they gained too little, fewer are tried if they are worth it by the share of the prediction that came true.
    """
    best = _first(start, moves[: _needed(start, moves, settings)], lab, settings)
    if best is None:
        return start
    if not _worth(start, best, settings):
        fair = start if start.moves else _quick(start.draft.plan, start, (), lab)
        count = len(best.moves) - len(start.moves)
        share = (best.score - fair.score) / _predicted(moves, count)
        fewer = count if _worth(fair, best, settings) else _worthwhile(moves[: count - 1], share, settings)
        best = best if fewer == count else _first(start, moves[:fewer], lab, settings)
        if best is None or not _worth(fair, best, settings):
            return start
    return _fewest(start, best, lab, settings)


def _fewest(start: _State, best: _State, lab: Lab, settings: MixedPrecision) -> _State:
    """The state behind the fewest of the last moves, where those that are taken back gain too little."""
    done, moves = len(start.moves), best.moves[len(start.moves) :]
    low = 0
    while (high := len(best.moves) - done) - low > 1:
        middle = (low + high) // 2
        state = _first(start, moves[:middle], lab, settings)
        fewer = state is not None and (state.score >= settings.enough or not _worth(state, best, settings))
        best, low = (state, low) if fewer and state is not None else (best, middle)
    return best


def _worth(before: _State, after: _State, settings: MixedPrecision) -> bool:
    """Whether each of the moves in between gains enough."""
    return after.score >= before.score + settings.gain * (len(after.moves) - len(before.moves))


def _first(start: _State, moves: Sequence[Move], lab: Lab, settings: MixedPrecision) -> _State | None:
    """The state behind as many of the moves as may be made, by halving; None where not even one may."""
    while moves and (state := _after(start, moves, lab, settings)) is None:
        moves = moves[: len(moves) // 2]
    return state if moves else None


def _needed(start: _State, moves: Sequence[Move], settings: MixedPrecision) -> int:
    """How many of the moves reach the goal by prediction, all of them where none does."""
    wanted = settings.enough - start.score
    return next((n for n in range(1, len(moves)) if _predicted(moves, n) >= wanted), len(moves))


def _predicted(moves: Sequence[Move], count: int) -> float:
    """Gain in dB that is predicted for the first moves."""
    return moves[count - 1].after_db - moves[0].before_db


def _worthwhile(moves: Sequence[Move], share: float, settings: MixedPrecision) -> int:
    """The most moves that gain enough where only a share of what is predicted comes true; 0 where none do."""
    counts = range(len(moves), 0, -1)
    return next((n for n in counts if share * _predicted(moves, n) >= settings.gain * n), 0)


_QUICK = Reconstruction(samples=8)  # for states that are only compared


def _priced(draft: Draft, lab: Lab, settings: MixedPrecision) -> list[Move]:
    """Moves that gain most for their price, as long as enough stays in integers of few bits."""
    directions = 4 * settings.samples
    sight = look(draft, lab, lab.target, _silent, samples=settings.samples, directions=directions)
    if sight is None:
        return []

    def allowed(state: MovedPlan) -> bool:
        return state.integer_share >= settings.integer_macs and state.small_share >= settings.small_weights

    known = frozenset(draft.reference.by_name)
    moves = candidates(sight.board, known, dynamic=False)
    return ladder(sight.board, moves, settings.most, worth_db=settings.gain, allowed=allowed)


def _silent(done: int, total: int) -> None:
    pass


def _after(start: _State, made: Sequence[Move], lab: Lab, settings: MixedPrecision) -> _State | None:
    """The state behind some moves, None where its plan is too slow or too little of it integer."""
    moves = (*start.moves, *made)
    changes = exceptions(moves, start.draft.plan)
    changes = replace(changes, kept={**added_kept(start.draft, lab), **changes.kept})
    plan = lab.replan(changes, start.draft.reference)
    if not _affordable(plan, start.draft.plan, settings):
        return None
    return _quick(plan, start, moves, lab)


def _quick(plan: Plan, start: _State, moves: tuple[Move, ...], lab: Lab) -> _State:
    draft = reconstruct(planned_again(start.draft, lab, plan), lab, _QUICK)
    return _State(draft, lab.score(draft), moves)


def _affordable(plan: Plan, before: Plan, settings: MixedPrecision) -> bool:
    prediction = plan.prediction
    least = min(settings.speedup, before.prediction.speedup or settings.speedup)
    fast = prediction.speedup is None or prediction.speedup >= least
    return fast and prediction.integer_share >= settings.integer_macs


def exceptions(moves: Sequence[Move], plan: Plan) -> Exceptions:
    """What moves change about a plan."""
    kept: dict[str, Reason] = {}
    for move in (m for m in moves if m.row.becomes is Kind.FLOAT):
        reason = Reason("P010", f"rounding `{move.about}` costs more accuracy than all else nearby")
        hosts = [plan.nodes[name].host for name in move.names if name in plan.nodes and plan.nodes[name].host]
        kept.update(dict.fromkeys((*move.names, *hosts), reason))
    finer = [m for m in moves if m.row.becomes is None]
    nodes = {name: m.change for m in finer if m.row.of == "nodes" for name in m.names}
    tensors = {name: m.change for m in finer if m.row.of == "tensors" for name in m.names}
    return Exceptions(kept, nodes, tensors)


# --- a draft under another plan ----------------------------------------------------------------------------------------


def added_kept(draft: Draft, lab: Lab) -> dict[str, Reason]:
    """Nodes that earlier steps have added and left float."""
    added = [name for name in draft.reference.by_name if name not in lab.graph.by_name]
    reasons = {name: draft.plan.nodes[name].reason for name in added}
    return {name: reason for name, reason in reasons.items() if reason is not None}


def planned_again(draft: Draft, lab: Lab, plan: Plan) -> Draft:
    """The draft under another plan: FP32 weights rounded to nearest, and the ranges that the draft has, where they still fit."""
    graph = draft.reference if plan.opset <= draft.reference.opset else raise_opset(draft.reference, plan.opset).graph
    sketches = {**draft.sketches, **missing_sketches(draft, lab, plan)}
    activations = {**activation_params(plan, sketches, lab.calibration.measured()), **_kept(draft, plan)}
    weights = weight_params(graph, plan, activations, lab.calibration)
    return Draft(graph, graph, plan, sketches, activations, weights)


def _kept(draft: Draft, plan: Plan) -> Mapping[str, QuantParams]:
    """Ranges of the draft's scale groups that have not grown and keep their format: an earlier step has chosen them."""
    before = _groups(draft.plan)
    return {
        name: draft.activations[name]
        for names in _groups(plan).values()
        for name in names
        if names <= before.get(_group_of(draft.plan, name), frozenset())
        and plan.tensors[name].format == draft.plan.tensors[name].format
        and plan.tensors[name].bounds == draft.plan.tensors[name].bounds
    }


def _group_of(plan: Plan, name: str) -> int:
    return plan.tensors[name].group if name in plan.tensors else -1


def _groups(plan: Plan) -> dict[int, frozenset[str]]:
    found: dict[int, set[str]] = {}
    for name, chosen in plan.tensors.items():
        found.setdefault(chosen.group, set()).add(name)
    return {group: frozenset(names) for group, names in found.items()}


def missing_sketches(draft: Draft, lab: Lab, plan: Plan) -> dict[str, Sketch]:
    """Statistics of the plan's tensors that the draft has none of."""
    names = [name for name in plan.taps if name not in draft.sketches]
    if not names:
        return {}
    sketchers = {name: Sketcher() for name in names}
    with opened(_watched(draft.reference, names), Options(threads=lab.options.threads)) as session:
        for feed in lab.fit:
            for name, value in {**feed, **session.run(feed)}.items():
                if name in sketchers:
                    sketchers[name].add(value)
    return {name: sketcher.result() for name, sketcher in sketchers.items()}


def _watched(graph: Graph, names: Sequence[str]) -> Graph:
    computed = tuple(name for name in names if name not in graph.feeds)
    return graph.with_(outputs=computed or graph.outputs)
