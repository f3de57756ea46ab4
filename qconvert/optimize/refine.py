"""Ranges by what they do behind the next layers: each end of each range is moved, and judged where the values are rounded next.

A range method sees one tensor; whether its outliers and its small values matter is only seen behind its readers. The low end
of a branch that an addition and Relu cut off anyway costs codes for nothing, and an error that a layer averages away is none.
So a scale group is rounded alone in the FP32 model, run up to the next tensors that are rounded anyway (or the outputs), and
the error there, relative to the signal, decides: exact for the layers in between, as many runs of the model as there are
candidates, however many tensors. One pass over the samples is made for each set of candidates.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from math import inf
from typing import Annotated

import numpy as np
from pydantic import Field

from ..calibrate import QuantParams, params_for_range, weight_params
from ..data.settings import Settings
from ..graph import Array, Graph, Node, TensorType
from ..plan import Kind, Plan
from ..runtime import Feed, Options, opened
from .draft import Draft, Lab


class Refinement(Settings):
    """Settings of `refine`."""

    samples: Annotated[int, Field(ge=1)] = Field(default=64, description="samples to learn from, at most")
    least: Annotated[int, Field(ge=1)] = Field(
        default=4, description="where fewer samples than this are affordable, nothing is done"
    )
    work: Annotated[float, Field(gt=0)] = Field(
        default=1e11, description="multiply-accumulates that the search may cost"
    )


_FACTORS = (1.0, 0.85, 0.7, 0.55, 0.4, 0.3, 0.2)  # of an end of everything seen
_NUDGES = (0.93, 1.07)  # of the best end so far
_RUNS = 2 * (len(_FACTORS) + len(_NUDGES)) + 1  # of the model for each sample


def refine(draft: Draft, lab: Lab, settings: Refinement) -> Draft:
    """The draft with ranges moved for the least error at the next rounded tensors."""
    blocks = find_blocks(draft.reference, draft.plan, lab.probes)
    count = min(settings.samples, int(settings.work / (_RUNS * max(draft.plan.prediction.macs, 1))), len(lab.fit))
    if not blocks or count < min(settings.least, len(lab.fit)):
        return draft
    ranges = [_Range.first(draft, block) for block in blocks]
    with ExitStack() as stack:
        bench = _Bench(draft, blocks, lab.options.threads, stack)
        for moves in (_unmoved, _low_ends, _high_ends, _low_nudges, _high_nudges):
            trials = [moves(found) for found in ranges]
            errors = bench.errors(trials, lab.fit[:count])
            ranges = [f.better(tried, made) for f, tried, made in zip(ranges, trials, errors, strict=True)]
    best = {name: found.params for block, found in zip(blocks, ranges, strict=True) for name in block.members}
    activations = {**draft.activations, **best}
    weights = weight_params(draft.graph, draft.plan, activations, lab.calibration)
    return draft.with_(activations=activations, weights=weights)


# --- candidates ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Range:
    """The best range of a group so far.

    Attributes:
        error: of the parameters, behind the block.
        low, high: everything seen; bounds: what the codes must not leave, since a clamp has vanished into the range.
    """

    params: QuantParams
    error: float
    low: float
    high: float
    bounds: tuple[float, float]

    @classmethod
    def first(cls, draft: Draft, block: Block) -> _Range:
        """The range that the draft has."""
        seen = [draft.sketches[n] for n in draft.plan.group_taps[draft.plan.tensors[block.members[0]].group]]
        known = [b for name in block.members if (b := draft.plan.tensors[name].bounds) is not None]
        bounds = max((low for low, _ in known), default=-inf), min((high for _, high in known), default=inf)
        low, high = min(s.low for s in seen), max(s.high for s in seen)
        return cls(draft.activations[block.members[0]], inf, low, high, bounds)

    def moved(self, low: float, high: float) -> QuantParams:
        """Parameters of another range, within the bounds."""
        if self.params.format.symmetric:
            high = min(high, max(-self.bounds[0], self.bounds[1]))
            return params_for_range(self.params.format, -high, high)
        return params_for_range(self.params.format, max(low, self.bounds[0]), min(high, self.bounds[1]))

    def better(self, trials: Sequence[QuantParams], errors: Sequence[float]) -> _Range:
        """With the best of the trials, if it is better."""
        error, n = min(((e, n) for n, e in enumerate(errors)), default=(inf, 0))
        return replace(self, params=trials[n], error=error) if error < self.error else self


def _unmoved(found: _Range) -> list[QuantParams]:
    return [found.params]


def _low_ends(found: _Range) -> list[QuantParams]:
    wanted = found.low < 0 and not found.params.format.symmetric
    return [found.moved(found.low * f, float(found.params.high)) for f in _FACTORS] if wanted else []


def _high_ends(found: _Range) -> list[QuantParams]:
    symmetric = found.params.format.symmetric
    reach = max(-found.low, found.high) if symmetric else found.high
    return [found.moved(float(found.params.low), reach * f) for f in _FACTORS] if reach > 0 else []


def _low_nudges(found: _Range) -> list[QuantParams]:
    wanted = found.low < 0 and not found.params.format.symmetric
    low, high = float(found.params.low), float(found.params.high)
    return [found.moved(low * f, high) for f in _NUDGES] if wanted else []


def _high_nudges(found: _Range) -> list[QuantParams]:
    low, high = float(found.params.low), float(found.params.high)
    return [found.moved(low, high * f) for f in _NUDGES] if high > 0 else []


# --- what is run ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Block:
    """A scale group, and the part of the model up to where its error is judged.

    Attributes:
        members: tensors of the group; roots: those that are rounded first, the others only carry the same codes on.
        nodes: what lies behind, in graph order; ends: the next rounded tensors and outputs.
    """

    members: tuple[str, ...]
    roots: tuple[str, ...]
    nodes: tuple[Node, ...]
    ends: tuple[str, ...]


def find_blocks(graph: Graph, plan: Plan, probes: Iterable[str]) -> tuple[Block, ...]:
    """The scale groups whose range is free and whose error shows somewhere."""
    groups: dict[int, list[str]] = {}
    for name, tensor in plan.tensors.items():
        groups.setdefault(tensor.group, []).append(name)
    dictated = {tensor.group for tensor in plan.tensors.values() if tensor.fixed is not None}  # by the kernel
    shown = {*probes, *graph.outputs}  # their own error counts, not only what it does behind them
    free = (tuple(names) for group, names in groups.items() if group not in dictated and not shown & set(names))
    found = (_block(graph, plan, names, {*plan.tensors, *shown}) for names in free)
    return tuple(block for block in found if block.ends)


def _block(graph: Graph, plan: Plan, members: tuple[str, ...], stops: set[str]) -> Block:
    inside = set(members)
    roots = tuple(n for n in members if n not in graph.producer or not inside & set(graph.producer[n].reads))
    reached, nodes, ends = set(roots), [], []
    for node in graph.nodes:
        if reached & set(roots) & set(node.outputs):
            continue  # makes a root from others of the same group
        if not any(name in reached and _sees(graph, plan, node, name) for name in node.reads):
            continue
        nodes.append(node)
        ends += [out for out in node.outputs if out in stops and (out not in inside or out in graph.outputs)]
        reached.update(out for out in node.outputs if out and (out not in stops or out in inside))
    return Block(members, roots, tuple(nodes), tuple(ends))


def _sees(graph: Graph, plan: Plan, node: Node, name: str) -> bool:
    """Whether a node reads a value through its codes, or reads one that does not have any."""
    if name not in plan.tensors:
        return True
    producer = graph.producer.get(name)
    made = plan.nodes[producer.name] if producer is not None else None
    written = made is not None and (made.writes or made.kind is Kind.ABSORBED)
    return written or any(node.input(i) == name for i in plan.nodes[node.name].reads)


class _Bench:
    """The blocks, ready to run."""

    def __init__(self, draft: Draft, blocks: Sequence[Block], threads: int, stack: ExitStack) -> None:
        pieces = [_rounding(draft, block) for block in blocks]
        options = Options(threads=threads, config=(("session.disable_quant_qdq", "1"),))
        self._blocks = blocks
        self._pieces = [stack.enter_context(opened(piece, options)) for piece in pieces]
        made = {out for node in draft.reference.nodes for out in node.outputs}
        needed = {name for p in pieces for name in (*p.inputs, *p.outputs)}
        watched = draft.reference.with_(outputs=tuple(sorted(needed & made)))
        self._whole = stack.enter_context(opened(watched, Options(threads=threads)))

    def errors(self, trials: Sequence[Sequence[QuantParams]], feeds: Iterable[Feed]) -> list[list[float]]:
        """For every block and trial, the error power relative to the signal, summed over the block's ends."""
        noise = [np.zeros((len(tried), len(b.ends))) for b, tried in zip(self._blocks, trials, strict=True)]
        signal = [np.zeros(len(block.ends)) for block in self._blocks]
        if not any(trials):
            return [[] for _ in trials]
        for feed in feeds:
            values = {**feed, **self._whole.run(feed)}
            for n, (block, piece) in enumerate(zip(self._blocks, self._pieces, strict=True)):
                given = {name: values[name] for name in piece.inputs if name in values}
                signal[n] += [_power(values[end]) for end in block.ends] if trials[n] else 0.0
                for t, params in enumerate(trials[n]):
                    got = piece.run({**given, _SCALE: params.scale, _ZERO: params.zero_point})
                    noise[n][t] += [_power(got[end] - values[end]) for end in block.ends]
        return [list((n / np.maximum(s, 1e-30)).sum(axis=1)) for n, s in zip(noise, signal, strict=True)]


def _power(array: Array) -> float:
    flat = array.reshape(-1).astype(np.float32, copy=False)
    return float(flat @ flat)


_SCALE, _ZERO = "refine/scale", "refine/zero_point"


def _rounding(draft: Draft, block: Block) -> Graph:
    """The block with its roots rounded by a scale and a zero point that are inputs."""
    graph, plan = draft.reference, draft.plan
    fresh = {root: f"{root}/rounded" for root in block.roots}
    pairs = [pair for root, new in fresh.items() for pair in _pair(root, new)]
    nodes = [
        node.with_(inputs=tuple(fresh[i] if i in fresh and _sees(graph, plan, node, i) else i for i in node.inputs))
        for node in block.nodes
    ]
    made = {out for node in (*pairs, *nodes) for out in node.outputs}
    read = {name for node in nodes for name in node.reads}
    sources = (*block.roots, *sorted(read - made - set(graph.weights) - set(block.roots)))
    zero = TensorType(str(draft.activations[block.members[0]].zero_point.dtype), ())
    types = {name: graph.type_of(name) for name in (*sources, *block.ends)}
    constants = {name: weight for name, weight in graph.weights.items() if name in read}
    return Graph(
        (*pairs, *nodes),
        (*sources, _SCALE, _ZERO),
        block.ends,
        constants,
        {**types, _SCALE: TensorType("float32", ()), _ZERO: zero},
        graph.opsets,
        ir_version=max(graph.ir_version, 10),
    )


def _pair(name: str, rounded: str) -> tuple[Node, Node]:
    codes = f"{rounded}/codes"
    return (
        Node("QuantizeLinear", (name, _SCALE, _ZERO), (codes,), name=codes),
        Node("DequantizeLinear", (codes, _SCALE, _ZERO), (rounded,), name=rounded),
    )
