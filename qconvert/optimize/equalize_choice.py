"""Which scale suits a group: candidates are judged by the error that its quantized layers really make on some of their inputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import gcd

import numpy as np

from ..calibrate import Observer, QuantParams, collect, constant_params, fake_quantize, params_for_range
from ..calibrate.methods import clipping_error
from ..data import Sample
from ..graph import Array, Graph, Node
from ..plan import Kind, Plan, WeightPlan
from ..recipe.types import Calibration
from ..runtime import Feed
from .equalize_groups import Group, Stake
from .fitting import to_matrix
from .gram import rows as rows_of
from .lockstep import DYNAMIC

SAMPLES = 16
_VALUES = 65_536  # of one layer's inputs that are kept of each sample
_MOST_ROWS, _MOST_OUTPUTS, _MOST_VALUES = 64, 96, 65_536
_REACH = 2.0**12  # of a scale from the middle one; a channel that is far smaller is as good as dead
_SHRINK = np.array([1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4])


@dataclass(frozen=True, eq=False)
class Ends:
    """Extremes [samples, channels] of a tensor; those of channels it does not have are 0."""

    low: Array
    high: Array

    def scaled(self, scale: Array) -> tuple[Array, Array]:
        """Extremes [samples] of the whole tensor divided by the scale."""
        return (self.low / scale).min(axis=1), (self.high / scale).max(axis=1)

    @property
    def reach(self) -> Array:
        """Largest magnitude [channels]."""
        return np.asarray(np.maximum(-self.low, self.high).max(axis=0))


@dataclass(frozen=True, eq=False)
class Rows:
    """Some of the rows [G, N, K] that a layer's weights multiply, and the sample [N] that each is from."""

    values: Array
    sample: Array


class _Extremes:
    """Collects the extremes of one member."""

    def __init__(self, ids: Array, count: int) -> None:
        self._ids, self._count = ids, count
        self._axes = tuple(axis for axis, size in enumerate(ids.shape) if size == 1)
        self._ends: list[tuple[Array, Array]] = []

    def add(self, values: Array) -> None:
        low, high = values.min(axis=self._axes, keepdims=True), values.max(axis=self._axes, keepdims=True)
        self._ends.append((self._scattered(low, np.minimum), self._scattered(high, np.maximum)))

    def _scattered(self, values: Array, extreme: np.ufunc) -> Array:
        result = np.zeros(self._count)
        extreme.at(result, self._ids.reshape(-1), values.reshape(-1))
        return result

    def result(self) -> Ends:
        return Ends(np.stack([low for low, _ in self._ends]), np.stack([high for _, high in self._ends]))


class _Thinned:
    """Collects rows of one layer's input."""

    def __init__(self, node: Node, kernel: tuple[int, ...]) -> None:
        self._node, self._kernel = node, kernel
        self._rows: list[Array] = []

    def add(self, values: Array) -> None:
        found = rows_of(self._node, self._kernel, values)
        most = int(np.clip(_VALUES // max(1, found.shape[0] * found.shape[2]), 8, _MOST_ROWS))
        self._rows.append(found[:, :: max(1, -(-found.shape[1] // most))].astype(np.float32))

    def result(self) -> Rows:
        sample = np.repeat(np.arange(len(self._rows)), [r.shape[1] for r in self._rows])
        return Rows(np.concatenate(self._rows, axis=1), sample)


@dataclass(frozen=True, eq=False)
class Seen:
    """What was seen of all groups: extremes by member, rows by layer."""

    ends: Mapping[str, Ends]
    rows: Mapping[str, Rows]


def observe(graph: Graph, plan: Plan, groups: Sequence[Group], feeds: Sequence[Feed], threads: int) -> Seen:
    """One pass over some samples for all groups."""
    ends: dict[str, _Extremes] = {}
    rows: dict[str, _Thinned] = {}
    observers: dict[str, list[Observer]] = {}
    for group in groups:
        layers = [graph.by_name[name] for name in judged(graph, group)]
        read = {node.input(0) for node in layers}
        for name in (m for m in group.members if m in read or m in plan.tensors):
            ends[name] = _Extremes(group.members[name], group.count)
            observers[name] = [ends[name]]
        for node in layers:
            rows[node.name] = _Thinned(node, graph.weight_shape(node.input(1)))
            observers[node.input(0)].append(rows[node.name])
    step = max(1, -(-len(feeds) // SAMPLES))
    samples = [Sample(str(n), feed) for n, feed in enumerate(feeds[::step])]
    collect(graph, samples, {name: tuple(watching) for name, watching in observers.items()}, threads)
    return Seen({name: e.result() for name, e in ends.items()}, {name: r.result() for name, r in rows.items()})


def judged(graph: Graph, group: Group) -> tuple[str, ...]:
    """Readers of a group whose error is measured."""
    return tuple(name for name in group.readers if graph.by_name[name].op != "ConvTranspose")


Constant = Callable[[str, int], Array]  # (node name, input) to a constant's present value


class Judge:
    """Measures scales for one group, the others being as they are."""

    def __init__(
        self, graph: Graph, plan: Plan, group: Group, seen: Seen, constant: Constant, settings: Calibration
    ) -> None:
        self.graph, self.plan, self.group, self.settings = graph, plan, group, settings
        self.constant, self.seen = constant, seen
        self._layers = [_Layer(self, graph.by_name[name]) for name in judged(graph, group)]
        self._before = {layer.node.input(0): self._rounded_members(layer.node.input(0)) for layer in self._layers}

    def _rounded_members(self, name: str) -> list[str]:
        """Quantized members that another one is computed from."""
        found: dict[str, None] = {}
        frontier = [name]
        while frontier:
            producer = self.graph.producer[frontier.pop()]
            more = [i for i in producer.inputs if i in self.group.members and i not in found]
            found.update(dict.fromkeys(more))
            frontier += more
        return [member for member in found if member in self.plan.tensors]

    def loss(self, scale: Array) -> float:
        """Error of the group's layers, each relative to the power of its output."""
        weights = self._weight_noise(scale)
        return sum(
            layer.loss(scale, self._rounded_before(layer.node.input(0), scale), weights) for layer in self._layers
        )

    def candidates(self, alphas: Sequence[float]) -> list[Array]:
        """Scales to try: range^alpha / weight^(1 - alpha), and the one that makes written and read weights equally large."""
        reach = np.max([self.seen.ends[layer.node.input(0)].reach for layer in self._layers], axis=0)
        read, written = self._weight_reach(1), self._weight_reach(-1)
        pairs = [(reach**alpha, read ** (1 - alpha)) for alpha in alphas]
        pairs += [(np.sqrt(written), np.sqrt(read))] if written.any() else []
        alive = (reach > 0) & (
            read > 0
        )  # the numbers behind them may be 0 elsewhere: the weights that write a pruned channel
        return [_limited(above, below, alive & (above > 0) & (below > 0)) for above, below in pairs]

    def _weight_reach(self, power: int) -> Array:
        """Largest magnitude [channels] of the weights that read (1) or write (-1) the group."""
        result = np.zeros(self.group.count)
        for stake in self._weights(power):
            values = np.abs(self.constant(stake.node, stake.input))
            rest = tuple(axis for axis, size in enumerate(stake.ids.shape) if size == 1)
            np.maximum.at(result, stake.ids.reshape(-1), values.max(axis=rest).reshape(-1))
        return result

    def _weights(self, power: int) -> list[Stake]:
        return [s for s in self.group.stakes if s.power == power and (s.node, s.input) in self.plan.weights]

    def _rounded_before(self, tensor: str, scale: Array) -> Array:
        """Power [channels], before scaling, of the rounding of members on the way to a tensor."""
        noise = np.zeros(self.group.count)
        for name in self._before[tensor]:
            low, high = self.seen.ends[name].scaled(scale)
            step = float(params_for_range(self.plan.tensors[name].format, low.min(), high.max()).scale)
            noise += np.square(step * scale) / 12
        return noise

    def _weight_noise(self, scale: Array) -> Array:
        """Power [channels] of the rounding errors of weights that write the group, relative to the channel's own.

        With a scale an output channel it is the same for all candidates.
        """
        noise = np.zeros(self.group.count)
        for stake in self._weights(-1):
            chosen = self.plan.weights[stake.node, stake.input]
            if chosen.axis is None:
                exact = self.constant(stake.node, stake.input)
                values = (exact * scale[stake.ids] ** stake.power).astype(np.float32)
                error = fake_quantize(values, constant_params(values, chosen, "min-max")) - values
                where = np.broadcast_to(stake.ids, values.shape).reshape(-1)
                power = [np.bincount(where, np.square(v).reshape(-1), self.group.count) for v in (error, values)]
                noise += power[0] / np.maximum(power[1], 1e-30)
        return noise


class _Layer:
    """One layer that reads the group; of many output channels some stand for all."""

    def __init__(self, judge: Judge, node: Node) -> None:
        self.judge, self.node = judge, node
        self._rows, self._ends = judge.seen.rows[node.name], judge.seen.ends[node.input(0)]
        self._plan = judge.plan.weights[node.name, 1]
        stake = next(s for s in judge.group.stakes if (s.node, s.input, s.power) == (node.name, 1, 1))
        weights = judge.constant(node.name, 1)
        self._ids = to_matrix(node, np.broadcast_to(stake.ids, weights.shape))[:, 0].astype(np.int64)  # [G, K]
        matrix = to_matrix(node, weights).astype(np.float32)  # [G, O/G, K]
        thin = max(1, matrix.shape[1] // _MOST_OUTPUTS) if self._plan.axis is not None else 1
        self._matrix = matrix[:, ::thin]
        self._wanted = self._rows.values @ self._matrix.transpose(0, 2, 1)
        self._second_moment = np.square(self._rows.values).mean(axis=1)  # [G, K]
        self._gain = np.square(self._matrix).mean(axis=1)  # [G, K], mean over the outputs
        self._power = float(self._wanted.var(axis=1).mean()) or 1.0

    def loss(self, scale: Array, activations: Array, weights: Array) -> float:
        """Power of the output's error, its mean left out as a bias can take it up, over that of the output.

        Args:
            activations, weights: noise before this layer, by channel: absolute, and relative to the channel's power.
        """
        factor = scale[self._ids][:, None].astype(np.float32)
        inputs = self._quantized(self._rows.values / factor, scale)
        error = float(
            (inputs @ self._rounded(self._matrix * factor).transpose(0, 2, 1) - self._wanted).var(axis=1).mean()
        )
        noise = activations[self._ids] + weights[self._ids] * self._second_moment
        passed_on = float((self._gain * noise).sum(axis=1).mean())
        return (error + passed_on) / self._power

    def _rounded(self, matrix: Array) -> Array:
        """Weights [G, O/G, K] after a round trip through the codes."""
        rows = matrix.reshape(-1, matrix.shape[2]) if self._plan.axis is not None else matrix.reshape(1, -1)
        chosen = WeightPlan(self._plan.format, 0, self._plan.block)
        return fake_quantize(rows, constant_params(rows, chosen, "min-max")).reshape(matrix.shape)

    def _quantized(self, rows: Array, scale: Array) -> Array:
        """Rows as the layer gets them."""
        low, high = self._ends.scaled(scale)
        if self.judge.plan.nodes[self.node.name].kind is Kind.DYNAMIC:
            every = params_for_range(DYNAMIC, low, high)
            sample = self._rows.sample
            return fake_quantize(rows, QuantParams(DYNAMIC, every.scale[sample], every.zero_point[sample], axis=1))
        tensor = self.judge.plan.tensors.get(self.node.input(0))
        if tensor is None:
            return rows
        shrink = np.ones(1) if (tensor.method or self.judge.settings.method) == "min-max" else _SHRINK
        ends = shrink * low.min(), shrink * high.max()
        step = max(1, rows.size // _MOST_VALUES)
        while gcd(step, rows.shape[2]) != 1:  # or it would see few channels
            step += 1
        some = rows.reshape(-1)[::step]
        best = int(clipping_error(some, np.ones(some.size), ends, tensor.format).argmin())
        return fake_quantize(rows, params_for_range(tensor.format, ends[0][best], ends[1][best]))


def _limited(above: Array, below: Array, alive: Array) -> Array:
    """above / below around 1, within limits; 1 for channels that carry nothing."""
    if not alive.any():
        return np.ones(alive.shape)
    powers = np.log2(np.where(alive, above, 1.0)) - np.log2(np.where(alive, below, 1.0))
    powers = np.where(alive, powers - np.median(powers[alive]), 0.0)
    return np.asarray(np.exp2(np.clip(powers, -np.log2(_REACH), np.log2(_REACH))))
