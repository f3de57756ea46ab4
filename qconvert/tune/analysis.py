"""Sensitivity of a draft: what each layer and tensor costs in accuracy and buys in time, and which few to leave float."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import numpy as np

from ..data import Sample
from ..emit import emit_qdq
from ..evaluate import Comparison, dequantized_values, layer_errors
from ..graph import Array
from ..optimize import Draft, Lab
from ..optimize.sensitivity import SAMPLES, ErrorSource, Move, MovedPlan, Sight, candidates, decibels, ladder, rounded
from ..plan import Kind
from ..runtime import Options, opened
from .health import clipped, outliers, unused
from .model import Analysis, LayerSensitivity, TensorSensitivity

MEASURED = 5  # worst tensors whose prediction is checked by a run
PROPOSED = 3  # moves in the rules that are proposed
Progress = Callable[[int, int], None]


class Reader:
    """Reads figures of tensors and layers off a screening."""

    def __init__(self, sight: Sight) -> None:
        board = sight.board
        self.sight, self._board = sight, board
        self._columns = board.active(board.state)
        self._index = {source.key: i for i, source in enumerate(sight.found.sources)}
        self.noise = board.noise(self._columns)

    def columns(self, *keys: tuple[str, str, str]) -> frozenset[int]:
        """Columns of sources that the draft has."""
        return frozenset(self._index[key] for key in keys if self._index.get(key) in self._columns)

    def alone(self, columns: frozenset[int]) -> float:
        """Output SQNR with only these errors."""
        return decibels(self._board.noise(columns)) if columns else float("inf")

    def gain(self, columns: frozenset[int]) -> float:
        """Gain of the output SQNR without these errors."""
        before, after = decibels(self.noise), decibels(self._board.noise(self._columns - columns))
        return after - before if columns and before < float("inf") else 0.0

    def own(self, source: ErrorSource) -> float:
        """SQNR of what a source rounds."""
        return decibels(float(self.sight.found.own[self._index[source.key]]))


def analyze(
    sight: Sight,
    lab: Lab,
    model: str,
    known: frozenset[str],
    rules: Callable[[Sequence[Move]], str],
    progress: Progress,
    enough: Callable[[], bool],
) -> Analysis:
    """The analysis of a screened draft.

    Args:
        known: nodes that rules may name.
        rules: moves as text for a recipe.
        enough: asked between stages whether the time is over.
    """
    reader, plan, left_out = Reader(sight), sight.draft.plan, list[str]()
    if sight.found.samples < len(lab.fit[:SAMPLES]):
        left_out.append(
            f"{len(lab.fit[:SAMPLES]) - sight.found.samples} of {len(lab.fit[:SAMPLES])} samples: the budget was spent"
        )
    tensors = sorted(_tensors(reader), key=lambda t: (t.alone_db, t.tensor))
    layers = sorted(_layers(reader), key=lambda x: (x.alone_db, x.node))
    steps = ladder(sight.board, candidates(sight.board, known, dynamic=False), PROPOSED)
    measured = None
    if enough():
        left_out += ["measured SQNR, growth of errors, check of the worst tensors: the budget was spent"]
    else:
        measured = lab.score(sight.draft)
        progress(1, 3)
        tensors = _with_growth(tensors, sight, lab)
        progress(2, 3)
        tensors = _with_measured(tensors, sight, lab)
        progress(3, 3)
    timed = sight.target.cost is not None
    prediction = plan.prediction
    return Analysis(
        target=sight.target.name,
        model=model,
        predicted_db=decibels(reader.noise),
        measured_db=measured,
        float_us=prediction.float_ns / 1000 if timed and prediction.float_ns else None,
        us=prediction.ns / 1000 if timed and prediction.ns else None,
        samples=sight.found.samples,
        corrected=sight.corrected,
        layers=tuple(layers),
        tensors=tuple(tensors),
        steps=tuple(steps),
        rules=rules(steps) if steps else "",
        blocked=sight.found.blocked,
        left_out=tuple(left_out),
    )


# --- tensors -----------------------------------------------------------------------------------------------------------


def _tensors(reader: Reader) -> Iterator[TensorSensitivity]:
    draft, found = reader.sight.draft, reader.sight.found
    for source in found.sources:
        if source.kind != "tensor" or source.params is None:
            continue
        columns = reader.columns(source.key)
        producer = draft.reference.producer.get(source.name)
        sketch = draft.sketches.get(source.name)
        channels, ratio = outliers(found.peaks[source.name])
        users = [n.name for n in draft.reference.consumers_of(source.name)]
        yield TensorSensitivity(
            tensor=source.name,
            node=producer.name if producer is not None else "",
            op=producer.op if producer is not None else "",
            readers=tuple(n for n in users if source.readers is None or n in source.readers),
            alone_db=reader.alone(columns),
            gain_db=reader.gain(columns),
            own_db=reader.own(source),
            clipped=clipped(sketch, source.params) if sketch is not None else 0.0,
            unused=unused(sketch, source.params) if sketch is not None else 0.0,
            outliers=channels,
            outlier_ratio=ratio,
            uncertain=source.key in found.uncertain,
        )


def _with_growth(tensors: Sequence[TensorSensitivity], sight: Sight, lab: Lab) -> list[TensorSensitivity]:
    """With the error that has come together where each tensor is, in a simulation of the whole draft."""
    draft = sight.draft
    if not draft.plan.tensors:
        return list(tensors)
    artefact = emit_qdq(draft.graph, draft.plan, draft.activations, draft.weights)
    values = dequantized_values(artefact, draft.plan.tensors)
    samples = [Sample(str(n), feed) for n, feed in enumerate(lab.held_out[:2])]
    found = layer_errors(
        draft.reference, artefact, values, samples, shapes=draft.plan.shapes, threads=lab.options.threads
    )
    grown = {layer.tensor: layer.sqnr_db for layer in found}
    return [t.model_copy(update={"grown_db": grown.get(t.tensor)}) for t in tensors]


def _with_measured(tensors: Sequence[TensorSensitivity], sight: Sight, lab: Lab) -> list[TensorSensitivity]:
    """With runs in which only one tensor is rounded, for the worst."""
    worst = [t.tensor for t in tensors[:MEASURED]]
    found = {name: _alone(name, sight.draft, lab) for name in worst}
    return [t.model_copy(update={"measured_db": found.get(t.tensor)}) for t in tensors]


def _alone(name: str, draft: Draft, lab: Lab) -> float:
    graph = rounded(draft.reference, [name], draft.activations).with_(outputs=lab.probes)
    options = Options(threads=lab.options.threads, config=(("session.disable_quant_qdq", "1"),))
    compared = Comparison()
    with opened(graph, options) as session:
        for feed, wanted in list(zip(lab.held_out, lab.reference, strict=True))[:SAMPLES]:
            compared.add(wanted, session.run(feed))
    return compared.result("calibration").sqnr_db


# --- layers ------------------------------------------------------------------------------------------------------------


def _layers(reader: Reader) -> Iterator[LayerSensitivity]:
    sight, state = reader.sight, reader.sight.state
    timed = sight.target.cost is not None
    for name in dict.fromkeys(node for node, _ in sight.draft.plan.weights):
        node, kind = state.graph.by_name[name], state.nodes[name].kind
        weights = reader.columns(("weight", name, ""))
        inputs = reader.columns(("dynamic", name, ""), *(("tensor", root, "") for root in _roots(state, node.inputs)))
        without = state.made(Move(kind="float", names=(name,)))
        channels, ratio = outliers(_reach(sight.draft, name))
        yield LayerSensitivity(
            node=name,
            op=node.op,
            kind=kind.value,
            alone_db=reader.alone(weights | inputs),
            weight_db=reader.alone(weights),
            activation_db=reader.alone(inputs),
            gain_db=reader.gain(weights | inputs),
            weight_gain_db=reader.gain(weights),
            activation_gain_db=reader.gain(inputs),
            saved_us=(without.around((name,)) - state.around((name,))) / 1000 if timed else None,
            saved_bytes=state.bytes_of((name,)),
            outliers=channels,
            outlier_ratio=ratio,
        )


def _roots(state: MovedPlan, names: Iterable[str]) -> Iterator[str]:
    """Tensors whose integers a node reads, behind operators that only move them."""
    for name in names:
        seen = name
        while seen in state.plan.tensors and not state.is_rounded(seen) and seen in state.graph.producer:
            seen = state.graph.producer[seen].input(0)
        yield seen


def _reach(draft: Draft, name: str) -> Array:
    """Largest weight of each output channel."""
    node = draft.reference.by_name[name]
    plans: Mapping[int, int | None] = {i: p.axis for (n, i), p in draft.plan.weights.items() if n == name}
    index, axis = next(iter(plans.items()))
    array = draft.reference.constant(node.input(index))
    if array is None or array.ndim < 2 or draft.plan.nodes[name].kind is Kind.LOOKUP:
        return np.zeros(0)
    return np.asarray(
        np.abs(np.moveaxis(array, axis if axis is not None else 0, 0).reshape(array.shape[axis or 0], -1)).max(axis=1)
    )
