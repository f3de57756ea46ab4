"""Prices all sources of error at once: each one's error times the gradient of random directions at the outputs.

With v a vector of random signs over the outputs, E (v·J e)² = |J e|², so a few dozen directions tell the power that each error e
has at the outputs; and as the products of all sources are known for the same v, so is the power of any set of them together,
errors that cancel or add up included. Cost: (samples x directions) runs of a graph about five times the model, whatever the
number of layers. First order: errors that are large enough to change how other errors travel are seen too large or too small.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod

import numpy as np

from ...canonicalize.opset import raise_opset
from ...graph import Array, Graph, Node, TensorType
from ...ops import WEIGHTED, Role, inputs_with
from ...runtime import Feed, Options, Session, opened
from .adjoint import Adjoint, upstream
from .sources import ErrorSource
from .tape import Tape, start

OPSET = 18  # ScatterElements adds up from here on
DIRECTIONS = 32


@dataclass(frozen=True, eq=False)
class Screening:
    """Products of errors and gradients.

    Attributes:
        products: [draws, sources], scaled so that the mean square of a row's sum is noise power over signal power.
        corrected: the same without the errors' means by channel, which the next layer's bias can take back.
        own: error power of each source over the power of what it rounds.
        peaks: of tensors, the largest magnitude of each channel.
        blocked: operators that gradients cannot pass; uncertain: sources before them.
        samples: that were looked at.
    """

    sources: tuple[ErrorSource, ...]
    products: Array
    corrected: Array
    own: Array
    peaks: Mapping[str, Array]
    blocked: tuple[str, ...]
    uncertain: frozenset[tuple[str, str, str]]
    samples: int

    def joined(self, other: Screening) -> Screening:
        """Both side by side; they must come from the same samples and directions."""
        return replace(
            self,
            sources=(*self.sources, *other.sources),
            products=np.hstack([self.products, other.products]),
            corrected=np.hstack([self.corrected, other.corrected]),
            own=np.concatenate([self.own, other.own]),
            uncertain=self.uncertain | other.uncertain,
        )


def screen(
    graph: Graph,
    probes: Sequence[str],
    found: Sequence[ErrorSource],
    feeds: Sequence[Feed],
    threads: int = 1,
    progress: Callable[[int, int], None] = lambda done, total: None,
    enough: Callable[[], bool] = lambda: False,
    directions: int = DIRECTIONS,
) -> Screening:
    """Price sources of error.

    Args:
        graph: the float graph.
        probes: values at which errors count.
        feeds: samples; each is seen from several directions.
        enough: asked between samples whether to stop.
        directions: in all, over the samples.
    """
    raised = raise_opset(graph, OPSET).graph.with_(outputs=tuple(probes))
    bench = _Bench(raised, found, threads)
    each = max(1, directions // max(len(feeds), 1))
    for done, (n, feed) in enumerate(_by_shape(feeds)):
        if done and enough():
            break
        bench.take(feed, n, each)
        progress(done + 1, len(feeds))
    return bench.result()


def _by_shape(feeds: Sequence[Feed]) -> list[tuple[int, Feed]]:
    """Numbered samples, those of equal shapes side by side: a session for each shape is made once, and one is held at a time."""
    first: dict[_Shape, int] = {}
    rows = [(n, feed, first.setdefault(_shape(feed), n)) for n, feed in enumerate(feeds)]
    return [(n, feed) for n, feed, _ in sorted(rows, key=lambda row: (row[2], row[0]))]


_Shape = tuple[tuple[str, tuple[int, ...]], ...]


def _shape(feed: Feed) -> _Shape:
    return tuple((name, tuple(array.shape)) for name, array in feed.items())


class _Bench:
    """Adds up what the runs give."""

    def __init__(self, graph: Graph, found: Sequence[ErrorSource], threads: int) -> None:
        self._graph, self._sources = graph, tuple(found)
        # The graphs have thousands of nodes, which optimizing would take minutes for.
        self._options = Options(optimize=False, threads=threads)
        self._made: dict[_Shape, tuple[_Errors, Session, _Products, Session]] = {}
        self._rows: list[Array] = []
        self._sums: list[list[list[Array]]] = []
        self._signals: list[Array] = []
        self._powers: list[Array] = []
        self._means: list[list[Array]] = []
        self._peaks: dict[str, Array] = {}
        self._blocked: dict[str, None] = {}
        self._uncertain: set[tuple[str, str, str]] = set()

    def take(self, feed: Feed, number: int, each: int) -> None:
        """Look at one sample from several directions."""
        errors, first, products, second = self._at(feed)
        self._add_errors(errors, first.run(feed))
        for n in range(each):
            rng = np.random.default_rng([number, n])
            signs = {
                seed: rng.choice(np.array([-1, 1], dtype=np.float32), products.tape.shapes[probe])
                for probe, seed in products.seeds.items()
            }
            got = second.run({**feed, **signs})
            self._rows.append(
                np.stack([got[products.dots[probe]].reshape(-1) for probe in products.seeds]).astype(np.float64)
            )
            self._sums.append([_parts(got[products.sums[probe]], products.channels) for probe in products.seeds])

    def _add_errors(self, made: _Errors, got: Mapping[str, Array]) -> None:
        self._signals.append(got[made.signals].reshape(-1).astype(np.float64))
        self._powers.append(got[made.powers].astype(np.float64).reshape(-1, 2))
        self._means.append(_parts(got[made.means], made.channels))
        for name, value in made.peaks.items():
            self._peaks[name] = np.maximum(self._peaks.get(name, 0.0), got[value])

    def _at(self, feed: Feed) -> tuple[_Errors, Session, _Products, Session]:
        key = _shape(feed)
        if key not in self._made:
            self._made.clear()  # each holds the weights and their errors
            errors = _Errors(self._graph, self._sources, feed)
            products = _Products(self._graph, self._sources, feed)
            with opened(errors.graph, self._options) as first, opened(products.graph, self._options) as second:
                self._made[key] = (errors, first, products, second)
            self._blocked.update(dict.fromkeys(node.op for node in products.blocked))
            self._uncertain |= products.uncertain
        return self._made[key]

    def result(self) -> Screening:
        """All draws as one table; every output counts by its own signal."""
        signal = np.sum(self._signals, axis=0)
        weights = np.sqrt(len(self._powers) / np.maximum(signal, 1e-30) / max(len(signal), 1))
        rows = np.stack(self._rows)  # [draws, outputs, sources]
        means = [np.mean([m[i] for m in self._means], axis=0) for i in range(len(self._sources))]
        shift = np.array(
            [[[float(s @ m) for s, m in zip(per, means, strict=True)] for per in sums] for sums in self._sums]
        )
        power = np.sum(self._powers, axis=0)
        return Screening(
            self._sources,
            np.einsum("dos,o->ds", rows, weights),
            np.einsum("dos,o->ds", rows - shift, weights),
            power[:, 0] / np.maximum(power[:, 1], 1e-30),
            self._peaks,
            tuple(self._blocked),
            frozenset(self._uncertain),
            len(self._powers),
        )


def _parts(flat: Array, sizes: Sequence[int]) -> list[Array]:
    return [part.astype(np.float64) for part in np.split(flat, np.cumsum(sizes)[:-1])]


class _Errors:
    """The graph that makes all errors, for inputs of certain shapes.

    Attributes:
        signals, powers, means: outputs with the probes' powers, (error, value) powers, and errors' means by channel.
        peaks: tensor to the output with its channels' largest magnitudes.
        channels: number of channels of each source.
    """

    def __init__(self, graph: Graph, found: Sequence[ErrorSource], feed: Feed) -> None:
        tape = start(graph, feed)
        errors = [_error(tape, source) for source in found]
        pairs = [x for source, error in zip(found, errors, strict=True) for x in (error, _value(tape, source))]
        self.channels = _channels(tape, found)
        self.signals = tape.op("Concat", *(tape.dot(probe, probe) for probe in graph.outputs), axis=0)
        self.powers = tape.op("Concat", *(tape.dot(x, x) for x in pairs), axis=0)
        self.means = tape.op(
            "Concat", *(_mean(tape, source, error) for source, error in zip(found, errors, strict=True)), axis=0
        )
        self.peaks = {s.name: _peak(tape, s) for s in found if s.kind == "tensor"}
        self.graph = tape.finished({}, (self.signals, self.powers, self.means, *self.peaks.values()))


class _Products:
    """The graph that multiplies errors with gradients, for inputs of certain shapes.

    Attributes:
        seeds: probe to the input that holds its direction.
        dots, sums: probe to the outputs with the products, and with the gradients' sums by channel.
        channels: number of channels of each source.
        blocked: nodes that gradients cannot pass; uncertain: sources before them.
    """

    def __init__(self, graph: Graph, found: Sequence[ErrorSource], feed: Feed) -> None:
        self.tape = tape = start(graph, feed)
        self.seeds = {probe: f"tune/v{i}" for i, probe in enumerate(graph.outputs)}
        self.channels = _channels(tape, found)
        self.dots: dict[str, str] = {}
        self.sums: dict[str, str] = {}
        self.blocked: list[Node] = []
        errors = [_error(tape, source) for source in found]
        for probe, seed in self.seeds.items():
            self._price(probe, seed, found, errors)
        before = upstream(graph, self.blocked)
        self.uncertain = {source.key for source in found if _value(tape, source) in before}
        inputs = {seed: TensorType("float32", tape.shapes[probe]) for probe, seed in self.seeds.items()}
        self.graph = tape.finished(inputs, (*self.dots.values(), *self.sums.values()))

    def _price(self, probe: str, seed: str, found: Sequence[ErrorSource], errors: Sequence[str]) -> None:
        """Products of all errors with the gradient of one output."""
        tape = self.tape
        adjoint = Adjoint(tape, {_value(tape, source) for source in found}, {probe: seed})
        gradients = [adjoint.gradient(_value(tape, s), s.readers) for s in found]
        zero = tape.const(np.zeros((1, 1), dtype=np.float32))
        dots = [zero if g is None else tape.dot(g, e) for g, e in zip(gradients, errors, strict=True)]
        sums = [_sum(tape, s, g) for s, g in zip(found, gradients, strict=True)]
        self.dots[probe], self.sums[probe] = tape.op("Concat", *dots, axis=0), tape.op("Concat", *sums, axis=0)
        self.blocked += adjoint.blocked


def _channels(tape: Tape, found: Sequence[ErrorSource]) -> list[int]:
    return [shape[axis] for shape, axis in (_layout(tape, source) for source in found)]


def _sum(tape: Tape, source: ErrorSource, gradient: str | None) -> str:
    shape, axis = _layout(tape, source)
    if gradient is None:
        return tape.const(np.zeros(shape[axis], dtype=np.float32))
    return _by_channel(tape, gradient, shape, axis)


def _mean(tape: Tape, source: ErrorSource, error: str) -> str:
    shape, axis = _layout(tape, source)
    share = tape.number(shape[axis] / max(prod(shape), 1))
    return tape.op("Mul", _by_channel(tape, error, shape, axis), share)


def _by_channel(tape: Tape, value: str, shape: tuple[int, ...], axis: int) -> str:
    rest = [i for i in range(len(shape)) if i != axis]
    return tape.shaped(tape.total(value, rest) if rest else value, (shape[axis],))


def _value(tape: Tape, source: ErrorSource) -> str:
    """What the error is added to: the tensor, or the node's output."""
    return source.name if source.kind in ("tensor", "range") else tape.graph.by_name[source.name].output


def _layout(tape: Tape, source: ErrorSource) -> tuple[tuple[int, ...], int]:
    """Shape of the value and its channel axis: 1 beside convolutions and pools, else the last."""
    name = _value(tape, source)
    shape = tape.shapes[name] or (1,)
    around = [*tape.graph.consumers_of(name), *([tape.graph.producer[name]] if name in tape.graph.producer else [])]
    spatial = len(shape) == 4 or any(node.op in ("Conv", "ConvTranspose") for node in around)
    return shape, 1 if spatial and len(shape) > 2 else len(shape) - 1


def _peak(tape: Tape, source: ErrorSource) -> str:
    shape, axis = _layout(tape, source)
    size = tape.op("Abs", source.name)
    rest = tuple(i for i in range(len(shape)) if i != axis)
    return tape.shaped(tape.op("ReduceMax", size, tape.ints(*rest)) if rest else size, (shape[axis],))


# --- errors ------------------------------------------------------------------------------------------------------------


def _error(tape: Tape, source: ErrorSource) -> str:
    """What a source adds to its value, as a value on the tape."""
    match source.kind:
        case "weight":
            return _weight_error(tape, source)
        case "dynamic":
            node = tape.graph.by_name[source.name]
            return tape.put(node.with_(inputs=(_dynamic_error(tape, node.input(0)), *node.inputs[1:2])))
    return tape.op("Sub", rounded(tape, source.name, source), source.name)


def rounded(tape: Tape, name: str, source: ErrorSource) -> str:
    """A value after a round trip through the codes of a tensor source."""
    params = source.params
    if params is None:
        raise ValueError(f"no parameters for {name}")
    scale = tape.const(params.scale)
    if params.format.bits == 8 and not params.format.narrow:
        zero = tape.const(params.zero_point)
        return tape.op("DequantizeLinear", tape.op("QuantizeLinear", name, scale, zero), scale, zero)
    zero = tape.const(params.zero_point.astype(np.float32))
    codes = tape.op("Add", tape.op("Round", tape.op("Div", name, scale)), zero)
    inside = tape.op("Clip", codes, tape.number(params.format.qmin), tape.number(params.format.qmax))
    return tape.op("Mul", tape.op("Sub", inside, zero), scale)


def _dynamic_error(tape: Tape, name: str) -> str:
    codes, scale, zero = tape.put_all(Node("DynamicQuantizeLinear", (name,), ("", "", "")), 3)
    return tape.op("Sub", tape.op("DequantizeLinear", codes, scale, zero), name)


def _weight_error(tape: Tape, source: ErrorSource) -> str:
    node = tape.graph.by_name[source.name]
    changes = {i: tape.const(change) for i, change in source.change.items()}
    if (set(source.change) <= {0} and node.op == "Gather") or (set(source.change) == {1} and _linear(node)):
        keep = [name for i, name in enumerate(node.inputs) if i not in inputs_with(node, Role.BIAS)]
        return tape.put(node.with_(inputs=tuple(changes.get(i, name) for i, name in enumerate(keep))))
    inputs = [tape.op("Add", name, changes[i]) if i in changes else name for i, name in enumerate(node.inputs)]
    return tape.op("Sub", tape.put(node.with_(inputs=tuple(inputs))), node.output)


def _linear(node: Node) -> bool:
    return node.op in WEIGHTED
