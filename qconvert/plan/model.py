"""The plan: for every node and tensor what it becomes, and why. A value to print; nothing in the graph has changed yet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from math import prod

from ..graph import Graph
from ..lift import Span
from ..ops import Shapes
from ..recipe.types import Change
from ..targets.formats import Format
from ..targets.kernels import WeightForm


class Kind(StrEnum):
    """What a node becomes."""

    INTEGER = "integer"  # static: Q/DQ (or QLinear*) with ranges from calibration
    DYNAMIC = "dynamic"  # integer weights, activation range measured at run time
    LOOKUP = "lookup"  # table stored in 8 bits, rows are dequantized after they are picked
    WEIGHT_ONLY = "weight-only"  # float arithmetic, the weight is stored in few bits and rebuilt
    ABSORBED = "absorbed"  # a clamp that vanishes into the range of an integer output
    HALF = "half"  # float arithmetic in the 16-bit type of the recipe
    FLOAT = "float"

    @property
    def floating(self) -> bool:
        """Whether the node computes on plain floats, of whatever width."""
        return self in (Kind.FLOAT, Kind.HALF)


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a node is what it is.

    Attributes:
        code: key of `errors.CODES`, family P.
        text: the particulars of this node.
    """

    code: str
    text: str

    def __str__(self) -> str:
        return f"{self.text} [{self.code}]"


@dataclass(frozen=True, slots=True)
class NodePlan:
    """What one node becomes.

    Attributes:
        reason: for float nodes why; None for the others.
        reads: indices of the activation inputs that are read as integers.
        writes: the output is written as integers, so that every consumer sees the quantized values.
        host: for ABSORBED, the name of the integer node whose output range takes the clamp in.
        macs: multiply-accumulates of one call.
        float_ns, integer_ns: predicted time of one call in float and in the chosen form.
    """

    kind: Kind
    reason: Reason | None = None
    reads: tuple[int, ...] = ()
    writes: bool = False
    host: str = ""
    macs: int = 0
    float_ns: float = 0.0
    integer_ns: float = 0.0


@dataclass(frozen=True, slots=True)
class TensorPlan:
    """How an activation is quantized.

    Attributes:
        format: integer format of its values.
        group: tensors of one group share one scale and zero point.
        bounds: interval that the values cannot leave (after Sigmoid, Clip, ...).
        method: range method; "" for the recipe's default.
        fixed: scale and zero point that a kernel dictates, whatever the data.
        given: interval of the group that is known before any data is seen.
    """

    format: Format
    group: int
    bounds: tuple[float, float] | None = None
    method: str = ""
    fixed: tuple[float, int] | None = None
    given: Span | None = None


@dataclass(frozen=True, slots=True)
class WeightPlan:
    """How a constant input is quantized.

    Attributes:
        axis: one scale an index of this axis; None for one scale.
        block: weights of one channel, in the order of the remaining axes, that share a scale; 0 for all of them.
        form: how it is stored, for layers that compute in float.
        levels: kind of table that it is rounded to (see `calibrate.levels`); "" for evenly spaced codes.
        gates: the axis consists of so many equal parts (the gates of an LSTM), each with one scale; 0 for none.
    """

    format: Format
    axis: int | None = None
    block: int = 0
    form: WeightForm | None = None
    gates: int = 0
    levels: str = ""

    def nbytes(self, shape: tuple[int, ...]) -> int:
        """Bytes of a stored weight of this shape, scales and levels included."""
        codes: int = -(-prod(shape) * (self.format.bits if self.levels else self.format.width) // 8)
        return int(codes + (2 if self.levels else 4) * self.scales(shape) + 4 * 2**self.format.bits * bool(self.levels))

    def scales(self, shape: tuple[int, ...]) -> int:
        """Number of scales of a weight of this shape."""
        channels = (self.gates or shape[self.axis]) if self.axis is not None else 1
        return channels * max(1, -(-prod(shape) // max(channels, 1) // self.block) if self.block else 1)


@dataclass(frozen=True, slots=True)
class Prediction:
    """What the plan expects, from the deterministic cost model of the target.

    Attributes:
        float_bytes, bytes: size of the weights before and after.
        macs, integer_macs: multiply-accumulates of one run, in all and in integer kernels.
        float_ns, ns: predicted time of one run before and after; None where the target has no cost model.
    """

    float_bytes: int
    bytes: int
    macs: int
    integer_macs: int
    float_ns: float | None = None
    ns: float | None = None

    @property
    def integer_share(self) -> float:
        """Share of the multiply-accumulates that run in integer kernels, 0..1."""
        return self.integer_macs / self.macs if self.macs else 0.0

    @property
    def speedup(self) -> float | None:
        """Predicted FP32 time over predicted time."""
        return self.float_ns / self.ns if self.float_ns and self.ns else None


@dataclass(frozen=True, eq=False)
class Plan:
    """Every decision about one graph for one target.

    Attributes:
        nodes: by node name, every node of the graph.
        tensors: by name, every activation that is quantized.
        weights: by (node name, input index), every constant input that is quantized.
        taps: activations whose statistics calibration must collect, in graph order.
        group_taps: scale group to those of the taps that decide its range.
        anchors: float nodes amid integers that keep near-float weights only as 16-bit constants.
        ties: constants with the same channels as another one, by name; they are rounded alike and stored once.
        single: nodes that compute in float32 where the rest computes in 16-bit floats.
        watched: float32 activations of a model in 16-bit floats, in graph order; where there are data, their ranges are checked.
        opset: smallest opset that can express the formats.
    """

    target: str
    nodes: Mapping[str, NodePlan]
    tensors: Mapping[str, TensorPlan]
    weights: Mapping[tuple[str, int], WeightPlan]
    taps: tuple[str, ...]
    prediction: Prediction
    shapes: Shapes
    group_taps: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    anchors: frozenset[str] = frozenset()
    ties: Mapping[str, str] = field(default_factory=dict)
    single: frozenset[str] = frozenset()
    watched: tuple[str, ...] = ()
    bias: str = "int32"
    opset: int = 13

    @property
    def observed(self) -> tuple[str, ...]:
        """Activations that calibration looks at: those it must, then those it may."""
        return tuple(dict.fromkeys((*self.taps, *self.watched)))

    def count(self, kind: Kind) -> int:
        """Number of nodes of a kind."""
        return sum(p.kind is kind for p in self.nodes.values())


def around(plan: Plan, graph: Graph, tensor: str) -> tuple[str, ...]:
    """Names of the nodes that write or read a tensor and are more than float, those into which a clamp vanishes included."""
    producer = graph.producer.get(tensor)
    nodes = [*graph.consumers_of(tensor), *([producer] if producer is not None else [])]
    hosts = [plan.nodes[n.name].host for n in nodes if plan.nodes[n.name].host]
    return tuple(name for name in [*(n.name for n in nodes), *hosts] if not plan.nodes[name].kind.floating)


@dataclass(frozen=True, eq=False)
class Exceptions:
    """What an algorithm changes about a plan, on top of the recipe's rules.

    Attributes:
        kept: nodes that are left float, each with its reason.
        nodes, tensors: settings of nodes and of activations by name.
    """

    kept: Mapping[str, Reason] = field(default_factory=dict)
    nodes: Mapping[str, Change] = field(default_factory=dict)
    tensors: Mapping[str, Change] = field(default_factory=dict)
