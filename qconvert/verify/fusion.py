"""What TensorRT will fuse, foretold from the file: the groups of nodes that become one kernel, and the Q/DQ nodes left over.

The rules are those that NVIDIA documents for explicit quantization ("Q/DQ layer-placement recommendations" of the TensorRT
developer guide) and that ModelOpt's placement follows: a Q moves back and a DQ forward through copying operators and MaxPool,
then each weighted operator takes its DQ nodes, its BatchNormalization, bias, residual Add and activation, and the Q behind them.
It is a forecast: only the layer dump of a built engine (``trtexec --exportLayerInfo``) is proof.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from math import prod

from ..graph import Graph, Node
from ..ops import NO_OPS, POOLS, VIEWS, WEIGHTED
from .quantized import COMMUTING, DEQUANTIZE, QUANTIZE, TRANSPARENT, Quantize, QuantizedView

ACTIVATIONS = frozenset({"Relu", "Clip", "LeakyRelu", "PRelu", "Sigmoid", "HardSigmoid", "HardSwish", "Swish", "Tanh", "Elu", "Selu", "Celu", "Softplus", "Softsign", "Mish", "Gelu", "ThresholdedRelu"})  # fmt: skip
_GATES = frozenset({"Sigmoid", "HardSigmoid"})
_BINARY = frozenset({"Add", "Sub", "Mul", "Div", "Pow", "Max", "Min", "Where"})
_UNARY = frozenset({"Abs", "Neg", "Sqrt", "Exp", "Log", "Erf", "Reciprocal", "Floor", "Ceil", "Round", "Sin", "Cos", "Sign", "Softmax", "Cast"})  # fmt: skip
NORMS = frozenset({"LayerNormalization", "InstanceNormalization", "GroupNormalization", "RMSNormalization", "SimplifiedLayerNormalization", "SkipLayerNormalization", "SkipSimplifiedLayerNormalization", "LRN", "LpNormalization", "MeanVarianceNormalization"})  # fmt: skip
_FREE = VIEWS | NO_OPS  # need no kernel
POINTWISE = ACTIVATIONS | _BINARY | _UNARY | {"BatchNormalization"}
# Kernels that can read or write integers by themselves.
ABSORBING = POINTWISE | NORMS | POOLS | {"LpPool", "GlobalLpPool"}
_AFFINE = frozenset({"Add", "Sub", "Mul", "Div"})
_SHORT = {
    "float32": "f32",
    "float16": "f16",
    "bfloat16": "bf16",
    "int8": "i8",
    "uint8": "u8",
    "int4": "i4",
    "float8_e4m3fn": "f8",
    "float4_e2m1fn": "f4",
}


@dataclass(frozen=True, eq=False)
class Residual:
    """A residual Add: `conv` is the index of the input to leave raw, `skip` the one to quantize.

    Attributes:
        head: the weighted operator that the Add fuses into.
        both: both inputs end in a weighted operator, so that either may be the quantized one.
    """

    add: Node
    conv: int
    skip: int
    head: Node
    both: bool


@dataclass(frozen=True)
class Group:
    """Nodes that become one kernel, the type it reads and the type it writes, and its multiply-accumulates."""

    nodes: tuple[str, ...]
    reads: str
    writes: str
    macs: int = 0

    @property
    def kind(self) -> str:
        """Short form such as "i8->i8", "i8->f32" or "float"."""
        return (
            "float"
            if self.reads.startswith(("f32", "f16", "bf16", "?")) and self.writes == self.reads
            else f"{self.reads}->{self.writes}"
        )

    def __str__(self) -> str:
        return f"{self.kind:9} {' + '.join(self.nodes)}"


@dataclass(frozen=True)
class Forecast:
    """The kernels that TensorRT is expected to build.

    Attributes:
        groups: the kernels in the order of the graph.
        standalone: names of the Q and DQ nodes that no kernel takes in; each is a kernel of its own.
        reformats: stand-alone nodes, and inputs of a Concat that must be rescaled to its output.
    """

    groups: tuple[Group, ...] = ()
    standalone: tuple[str, ...] = ()
    reformats: int = 0
    total_macs: int = field(default=0)

    @property
    def integer_share(self) -> float:
        """Share of the multiply-accumulates in kernels that read integers (0 for a graph without any)."""
        integer = (g.macs for g in self.groups if not g.reads.startswith(("f32", "f16", "bf16", "?")))
        return sum(integer) / self.total_macs if self.total_macs else 0.0

    def __str__(self) -> str:
        head = f"{len(self.groups)} kernels, {self.integer_share:.1%} of MACs in integers, {len(self.standalone)} stand-alone Q/DQ, {self.reformats} reformats"
        return "\n".join([head, *(f"  {g}" for g in self.groups), *(f"  alone     {name}" for name in self.standalone)])


def label(node: Node) -> str:
    """How a node is called in messages: its name, or that of its first output."""
    return node.name or next((out for out in node.outputs if out), node.op)


def forecast(graph: Graph, macs: Callable[[Node], int] | None = None) -> Forecast:
    """Foretell the kernels of a graph with Q/DQ nodes.

    Args:
        graph: the model; types should be inferred, as unknown shapes make the MACs an estimate from the weights alone.
        macs: multiply-accumulates of a node; by default those of Conv, ConvTranspose, Gemm and MatMul.
    """
    return _Simulation(QuantizedView(graph), macs).run()


def head_of(view: QuantizedView, name: str) -> Node | None:
    """The weighted operator whose kernel computes a value: back through BatchNormalization, bias and scaling, each with one reader."""
    for _ in range(16):
        node = view.producer(name)
        if node is None or node.domain or node.op in WEIGHTED:
            return node if node is not None and not node.domain else None
        inner = affine_input(view, node)
        if inner is None or view.sole_consumer(inner) is not node:
            return None
        name = inner
    return None


def affine_input(view: QuantizedView, node: Node) -> str | None:
    """The computed input of a BatchNormalization, or of an Add, Sub, Mul or Div with a constant."""
    if node.op == "BatchNormalization":
        return node.input(0)
    computed = [name for name in node.inputs if name and name not in view.constants]
    return computed[0] if node.op in _AFFINE and len(computed) == 1 and len(node.inputs) == 2 else None


def residual(view: QuantizedView, add: Node) -> Residual | None:
    """Read an Add as a residual one, None if it is not.

    The conv side is the input that comes from a weighted operator whose result nothing else reads. If both do, it is the one
    with the longer way from their common ancestor (ModelOpt's `build_non_residual_input_map`; the second input if equal).
    """
    names = add.inputs
    if (
        add.op != "Add"
        or add.domain
        or len(names) != 2
        or any(not n or n in view.constants for n in names)
        or names[0] == names[1]
    ):
        return None
    shapes = [view.shape(name) for name in names]
    if shapes[0] is not None and shapes[1] is not None and not _alike(shapes[0], shapes[1]):
        return None
    heads = [_branch_head(view, add, name) for name in names]
    conv = 0 if heads[0] else 1
    if heads[0] and heads[1]:
        conv = 0 if _longer(view, *names) else 1
    head = heads[conv]
    return None if head is None else Residual(add, conv, 1 - conv, head, all(heads))


def _alike(a: tuple[int | None, ...], b: tuple[int | None, ...]) -> bool:
    return len(a) == len(b) and all(x is None or y is None or x == y for x, y in zip(a, b, strict=True))


def _branch_head(view: QuantizedView, add: Node, name: str) -> Node | None:
    """The weighted operator behind an Add's input, seen through a Q/DQ pair that serves this Add alone."""
    reader = add
    if (dq := view.dq(name)) is not None:
        if (
            dq.quantize is None
            or dq.weight
            or len(view.pairs_of(dq.quantize)) != 1
            or view.sole_consumer(name) is not add
        ):
            return None
        name, reader = dq.quantize.data, dq.quantize.node
    return head_of(view, name) if view.sole_consumer(name) is reader else None


def _longer(view: QuantizedView, first: str, second: str) -> bool:
    """Whether the first value is farther from the nearest common ancestor than the second."""
    a, b = _distances(view, first), _distances(view, second)
    common = [(a[key] + b[key], a[key], b[key]) for key in a if key in b]
    if not common:
        return max(a.values(), default=0) > max(b.values(), default=0)
    _, da, db = min(common)
    return da > db


def _distances(view: QuantizedView, name: str) -> dict[str, int]:
    """Number of operators (Q and DQ not counted) between a value and each one that it is computed from."""
    found, waiting = {name: 0}, deque([name])
    while waiting:
        node = view.producer(current := waiting.popleft())
        if node is None:
            continue
        step = found[current] + (node.op not in QUANTIZE | DEQUANTIZE)
        for source in node.reads:
            if source not in found and source not in view.constants:
                found[source] = step
                waiting.append(source)
    return found


def gated_product(view: QuantizedView, name: str) -> tuple[Node, Node] | None:
    """The Sigmoid and the Mul of x·sigmoid(x) when they are the only readers of x (SiLU, HardSwish written out)."""
    users = view.consumers(name)
    gate = next((n for n in users if n.op in _GATES), None)
    mul = next((n for n in users if n.op == "Mul"), None)
    if gate is None or mul is None or len(users) != 2 or name in view.graph.outputs or not gate.outputs:
        return None
    return (gate, mul) if view.sole_consumer(gate.output) is mul else None


@dataclass
class _Open:
    """A kernel while it grows: its nodes and the value it computes."""

    nodes: list[Node]
    end: str
    float_skip: bool = False
    added: bool = False


class _Simulation:
    """One run of the greedy fusion over a graph."""

    def __init__(self, view: QuantizedView, macs: Callable[[Node], int] | None) -> None:
        self.view = view
        self.macs = macs or (lambda node: estimate_macs(view, node))
        self.taken: set[int] = set()
        self.absorbed: set[str] = set()

    def run(self) -> Forecast:
        nodes = [
            n
            for n in self.view.graph.nodes
            if n.outputs and n.op not in QUANTIZE | DEQUANTIZE and not set(n.outputs) <= self.view.constants
        ]
        kernels = [self._grow(n) for n in nodes if n.op in WEIGHTED and not n.domain]
        kernels += [self._grow(n) for n in nodes if id(n) not in self.taken and n.op not in _FREE]
        place = {id(n): i for i, n in enumerate(self.view.graph.nodes)}
        kernels.sort(key=lambda k: place[id(k.nodes[0])])
        groups = tuple(self._close(k) for k in kernels)
        alone = tuple(label(n) for n in self.view.graph.nodes if self._is_alone(n))
        reformats = len(alone) + sum(_rescaled(self.view, n) for n in nodes)
        return Forecast(groups, alone, reformats, sum(g.macs for g in groups))

    def _grow(self, node: Node) -> _Open:
        kernel = _Open([node], node.output)
        self.taken.add(id(node))
        weighted = node.op in WEIGHTED and not node.domain
        while weighted or node.op in POINTWISE:
            if not (new := self._next(kernel, weighted)):
                break
            kernel.nodes += new
            kernel.end = new[-1].output
            self.taken.update(map(id, new))
        return kernel

    def _next(self, kernel: _Open, weighted: bool) -> list[Node]:
        if (pair := gated_product(self.view, kernel.end)) and not self.taken & {id(n) for n in pair}:
            return list(pair)
        node = self.view.sole_consumer(kernel.end)
        if node is None or id(node) in self.taken or node.domain or not node.outputs:
            return []
        if affine_input(self.view, node) is not None or node.op in ACTIVATIONS:
            return [node]
        if not weighted:
            return [node] if node.op in POINTWISE and self._ready(node, kernel.end) else []
        return self._take_add(kernel, node)

    def _ready(self, node: Node, own: str) -> bool:
        """Whether the other inputs of a pointwise operator need no kernel of their own that comes later."""
        return all(n == own or n in self.view.constants or self.view.is_quantized(n) for n in node.inputs if n)

    def _take_add(self, kernel: _Open, node: Node) -> list[Node]:
        found = residual(self.view, node)
        if kernel.added or found is None or found.head is not kernel.nodes[0]:
            return []
        kernel.added = True
        kernel.float_skip = not self.view.is_quantized(node.input(found.skip))
        return [node]

    def _close(self, kernel: _Open) -> Group:
        first = kernel.nodes[0]
        reads = self._reads(first)
        writes = reads if first.op in COMMUTING else self._float(kernel.end)
        if (
            (first.op in ABSORBING | WEIGHTED | TRANSPARENT | {"Concat", "Resize"})
            and not kernel.float_skip
            and (q := self._taken_q(kernel, first))
        ):
            writes = _SHORT.get(q[0].params.dtype or "", "?")
            self.absorbed.update(item.node.output for item in q)
        return Group(tuple(map(label, kernel.nodes)), reads, writes, sum(map(self.macs, kernel.nodes)))

    def _taken_q(self, kernel: _Open, first: Node) -> list[Quantize]:
        """The Q nodes that are all that reads a kernel's result, if they agree and the kernel may end in integers."""
        found = list(self.view.sinks(kernel.end, lambda n: n.op in COMMUTING))
        if not found or kernel.end in self.view.graph.outputs or not all(n.op in QUANTIZE and n.outputs for n in found):
            return []
        if first.op in WEIGHTED and not self.view.int8(first):
            return []
        quantizes = [self.view.quantizes[n.output] for n in found]
        params = [q.params for q in quantizes]
        feed = self.view.feed(first.input(0)) if first.op in COMMUTING else None
        return quantizes if all(params[0].same_scale(p) for p in [*params, *([feed.dq.params] if feed else [])]) else []

    def _moved_back(self, node: Node) -> str | None:
        """The type in which a copying operator works because all Q nodes behind it move in front of it."""
        found = list(self.view.sinks(node.output, lambda n: n.op in COMMUTING))
        types = {self.view.quantizes[n.output].params.dtype for n in found if n.op in QUANTIZE and n.outputs}
        return types.pop() if len(types) == 1 and all(n.op in QUANTIZE for n in found) else None

    def _reads(self, node: Node) -> str:
        if node.op in COMMUTING and (moved := self._moved_back(node)) is not None:
            return _SHORT.get(moved, "?")
        names = (
            [n for n in node.inputs[:2] if n]
            if node.op in WEIGHTED
            else [n for n in node.inputs if n and n not in self.view.constants]
        )
        feeds = [self.view.feed(n) for n in names]
        if not feeds or feeds[0] is None or not all(feeds):
            return self._float(node.input(0))
        return _SHORT.get(feeds[0].dq.params.dtype or "", "?")

    def _float(self, name: str) -> str:
        return _SHORT.get(
            self.view.dtype(name) or ("float32" if self.view.precision == "float32" else self.view.precision), "?"
        )

    def _is_alone(self, node: Node) -> bool:
        if not node.outputs or node.output in self.view.constants:
            return False
        if node.op in QUANTIZE:
            return node.output not in self.absorbed
        if node.op not in DEQUANTIZE:
            return False
        moved = self.view.sinks(node.output, lambda n: n.op in COMMUTING or n.op == "Concat")
        return node.output in self.view.graph.outputs or not all(self._absorbs(n) for n in moved)

    def _absorbs(self, node: Node) -> bool:
        return (
            self.view.int8(node)
            if node.op in WEIGHTED
            else node.op in ABSORBING | QUANTIZE | {"Resize"} and not node.domain
        )


def _rescaled(view: QuantizedView, node: Node) -> int:
    """How many inputs of a Concat have another scale than its result."""
    if node.op != "Concat" or not node.outputs:
        return 0
    goal = next(
        (
            view.quantizes[n.output].params
            for n in view.sinks(node.output, lambda n: n.op in COMMUTING)
            if n.op in QUANTIZE and n.outputs
        ),
        None,
    )
    feeds = [f.dq.params for f in map(view.feed, node.inputs) if f]
    goal = goal or (feeds[0] if feeds else None)
    return 0 if goal is None else sum(p.same_scale(goal) is False for p in feeds)


def estimate_macs(view: QuantizedView, node: Node) -> int:
    """Multiply-accumulates of a weighted operator; unknown dimensions count as 1."""
    found = view.weighted_of(node)
    if found is None:
        return 0
    out = view.shape(node.output) or ()
    kernel = view.shape(node.input(1)) or ()
    if node.op == "ConvTranspose":
        return _volume(kernel) * _volume((view.shape(node.input(0)) or (1, 1))[2:])
    if node.op == "Conv":
        return _volume(kernel) * _volume((*out[:1], *out[2:]))
    inner = (view.shape(node.input(0)) or (1,))[-1 if not node.attr("transA", 0) else 0]
    return _volume(out) * (inner or 1) if out else _volume(kernel)


def _volume(shape: tuple[int | None, ...]) -> int:
    return prod(d for d in shape if d)
