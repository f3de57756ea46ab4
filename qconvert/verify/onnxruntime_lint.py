"""Static check of a quantized model for onnxruntime on CPU: what runs slowly or in float there, whoever made the model.

The rules are those of onnxruntime 1.31.1 (`core/optimizer/qdq_transformer`, `core/mlas/lib/platform.cpp`), each confirmed on
optimized graphs. Copying operators (Reshape, Transpose, MaxPool, ...) count as transparent: the runtime moves Q and DQ past
them. A file that follows the rules gives no finding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import onnx

from ..errors import Diagnostic, QConvertError, Severity
from ..graph import Array, Graph, Node, from_proto, load
from ..ops import CLAMPS, WEIGHTED
from ..runtime import Options, Session, assumed_inputs, synthetic_feed
from ..targets.model import Target
from .fusion import label
from .onnxruntime_fusion import QUANTIZED_AT_LOAD, becomes_nbits, clamp_vanishes, float_regions, why_float
from .quantized import COMMUTING, DEQUANTIZE, QUANTIZE, Dequantize, Origin, Quantize, QuantizedInput, QuantizedView

_LAYERS = WEIGHTED | {"QLinearConv", "QLinearMatMul", "QGemm"}

# Integer operator to the places of activation, its zero point, weight, its zero point.
_OPERANDS = {
    "QLinearConv": (0, 2, 3, 5),
    "QLinearMatMul": (0, 2, 3, 5),
    "QGemm": (0, 2, 3, 5),
    "ConvInteger": (0, 2, 1, 3),
    "MatMulInteger": (0, 2, 1, 3),
    "MatMulIntegerToFloat": (0, 4, 1, 5),
    "DynamicQuantizeMatMul": (-1, -1, 1, 3),
}


def check_onnxruntime(graph: Graph, arch: str = "x86") -> tuple[Diagnostic, ...]:
    """Find everything in a quantized graph that onnxruntime runs slowly on a CPU.

    Args:
        graph: the model; run `infer_types` first, as values of unknown type count as float.
        arch: "x86" (VNNI) or "arm" (NEON).

    Returns:
        Warnings and notes, each with the name of the node, sorted by code and then by the node's place in the graph.
    """
    found: list[tuple[str, int, int, Diagnostic]] = []
    for scope, view in enumerate(_views(QuantizedView(graph))):
        model = _Model(view, arch)
        place = {label(node): i for i, node in reversed(list(enumerate(view.graph.nodes)))}
        items = (item for rule in RULES for item in rule(model))
        found += [(item.code, scope, place.get(item.where or "", -1), item) for item in items]
    return tuple(dict.fromkeys(item for *_, item in sorted(found, key=lambda f: (*f[:3], f[3].message))))


def _views(view: QuantizedView) -> Iterator[QuantizedView]:
    yield view
    for body in (body for node in view.graph.nodes for body in node.bodies):
        yield from _views(QuantizedView(body, view))


def check_loads(model: Path | bytes, target: Target) -> tuple[Diagnostic, ...]:
    """C210 for each session configuration of the target that refuses to load the model or to run it once on ones.

    The run is left out where the model has dimensions that are free apart from the batch, as a guess could be wrong.
    """
    feed = _ones(load(model) if isinstance(model, Path) else from_proto(onnx.ModelProto.FromString(model)))
    found: list[Diagnostic] = []
    for config in target.runtime.sessions:
        try:
            session = Session(model, Options(config.optimize, config=config.config), "C210")
            if feed is not None:
                session.run(feed, code="C210")
        except QConvertError as error:
            where = str(model) if isinstance(model, Path) else None
            found += [
                Diagnostic("C210", f"session with {config.name}: {d.message}", where, d.hint) for d in error.diagnostics
            ]
    return tuple(found)


def _ones(graph: Graph) -> dict[str, Array] | None:
    shapes = [graph.type_of(name).shape for name in graph.feeds]
    if any(shape is None or not all(isinstance(d, int) for d in shape[1:]) for shape in shapes):
        return None
    return synthetic_feed(assumed_inputs(graph, {}))


# --- what the rules look at ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Product:
    """A layer in integers: types of its operands and the weight's zero points, None where unknown."""

    node: Node
    data: str | None
    weight: str | None
    zero_point: Array | None


class _Model:
    """A graph, the processor it is meant for, and what several rules ask."""

    def __init__(self, view: QuantizedView, arch: str) -> None:
        self.view, self.arch = view, arch
        self._causes: dict[int, str] = {}

    @cached_property
    def activations(self) -> tuple[Quantize, ...]:
        """Every Q of a tensor that is computed or fed."""
        return tuple(q for q in self.view.quantizes.values() if not q.constant)

    @cached_property
    def products(self) -> tuple[_Product, ...]:
        """Every layer with both operands in integers."""
        found = (_of_operator(self.view, n) or _of_pairs(self.view, n) for n in self.view.graph.nodes)
        return tuple(p for p in found if p is not None)

    def cause(self, node: Node) -> str:
        """`why_float`, remembered; layers that the runtime itself quantizes count as integer."""
        if id(node) not in self._causes:
            self._causes[id(node)] = "" if self.quantized_at_load(node) else why_float(self.view, node)
        return self._causes[id(node)]

    def quantized_at_load(self, node: Node) -> bool:
        """Whether the runtime quantizes the layer's float weight, as its input and output are quantized."""
        weight, view = node.input(1), self.view
        if node.op not in QUANTIZED_AT_LOAD or node.domain or weight not in view.constants or view.dq(weight):
            return False
        readers = list(view.sinks(node.output, lambda n: n.op in CLAMPS))
        return view.dq(node.input(0)) is not None and bool(readers) and all(n.op in QUANTIZE for n in readers)

    def integer(self, node: Node | None) -> bool:
        """Whether a node runs in integers."""
        return node is not None and not self.cause(node)

    def float_op(self, node: Node) -> bool:
        """Whether a node computes floats from floats: no conversion, copy, constant or shape arithmetic."""
        if not node.outputs or self.transparent(node) or set(node.outputs) <= self.view.constants:
            return False
        return (self.view.dtype(node.output) or "float32").startswith("float") and not self.integer(node)

    def source(self, name: str) -> Node | None:
        """The operator that computes a value, seen through copies, conversions and clamps that vanish."""
        node = self.view.producer(name)
        while node is not None and self.transparent(node):
            node = self.view.producer(node.input(0))
        return node

    def transparent(self, node: Node) -> bool:
        """Whether a node only moves, converts or clamps values, without work of its own in integers."""
        return not node.domain and (
            node.op in COMMUTING | QUANTIZE | DEQUANTIZE or (node.op in CLAMPS and clamp_vanishes(self.view, node))
        )

    def from_integers(self, feed: QuantizedInput) -> bool:
        """Whether a dequantized value was computed in integers."""
        return self.integer(self.source(feed.dq.node.input(0)))

    def to_integers(self, q: Quantize) -> bool:
        """Whether some reader of a quantized value computes in integers."""
        return any(self.integer(n) for n in self.view.sinks(q.node.output, self.transparent))


def _of_operator(view: QuantizedView, node: Node) -> _Product | None:
    if node.op not in _OPERANDS:
        return None
    data, data_zero, weight, weight_zero = _OPERANDS[node.op]
    types = [next((t for i in pair if i >= 0 and node.input(i) and (t := view.dtype(node.input(i)))), None) for pair in ((data, data_zero), (weight, weight_zero))]  # fmt: skip
    return _Product(node, types[0], types[1], view.array(node.input(weight_zero)) if node.input(weight_zero) else None)


def _of_pairs(view: QuantizedView, node: Node) -> _Product | None:
    layer = view.weighted_of(node)
    if layer is None or layer.weight is None or not view.int8(node):
        return None
    data, weight = (view.feed(node.input(i)) for i in (layer.data, layer.weight))
    if data is None or weight is None or weight.dq.source is not Origin.WEIGHT:
        return None
    return _Product(node, data.dq.params.dtype, weight.dq.params.dtype, weight.dq.params.zero_point)


# --- formats -------------------------------------------------------------------------------------------------------------


def _warn(code: str, node: Node, message: str, hint: str, severity: Severity = Severity.WARNING) -> Diagnostic:
    return Diagnostic(code, message, label(node), hint, severity)


def _names(nodes: Iterable[Node]) -> str:
    found = list(dict.fromkeys(label(n) for n in nodes))
    return ", ".join(f"`{name}`" for name in found[:3]) + (f" and {len(found) - 3} more" if len(found) > 3 else "")


def _signed(model: _Model) -> Iterator[Diagnostic]:
    if model.arch != "x86":
        return
    hint = "quantize activations to uint8 with an asymmetric range"
    for q in model.activations:
        readers = [n for dq in model.view.pairs_of(q) for n in dq.consumers for i in n.inputs if i == dq.node.output]
        outside = sum(dq.node.output in model.view.graph.outputs for dq in model.view.pairs_of(q))
        if q.params.dtype == "int8" and len(readers) + outside > 1 and readers:
            text = f"`{q.data}` is int8 and has {len(readers) + outside} readers, so it cannot become uint8 at load and {_names(readers)} run in float"
            yield _warn("C201", readers[0], text, hint)
    for product in model.products:
        if product.node.op in _OPERANDS and product.data == "int8":
            yield _warn(
                "C201",
                product.node,
                f"{product.node.op} takes int8 activations, 0.2 to 0.3 times the speed of FP32",
                hint,
            )


def _unsigned_weights(model: _Model) -> Iterator[Diagnostic]:
    for product in (p for p in model.products if p.weight == "uint8"):
        if model.arch == "x86" or _depthwise(model.view, product.node):
            text = f"its weights are uint8: {'no VNNI kernel' if model.arch == 'x86' else 'no depthwise kernel'}"
            yield _warn("C202", product.node, text, "quantize weights to int8, symmetric")


def _depthwise(view: QuantizedView, node: Node) -> bool:
    return node.op in ("Conv", "QLinearConv", "ConvInteger") and node.attr("group", 1) > 1


def _weight_zero_points(model: _Model) -> Iterator[Diagnostic]:
    for product in (p for p in model.products if p.weight == "int8" and p.zero_point is not None):
        if product.zero_point is not None and np.any(product.zero_point != 0):
            off = product.zero_point.ravel()[np.flatnonzero(product.zero_point)[0]]
            yield _warn(
                "C203",
                product.node,
                f"its weights have a zero point other than 0: {off}",
                "quantize weights symmetrically",
            )


def _wide(model: _Model) -> Iterator[Diagnostic]:
    for q in model.activations:
        if q.params.dtype in ("int16", "uint16"):
            users = [n for n in model.view.users(q) if n.op not in QUANTIZE] or [q.node]
            text = f"`{q.data}` is {q.params.dtype}, so {_names(users)} run in float between conversions"
            yield _warn("C206", users[0], text, "use uint8 activations, or leave the tensor float")


def _conv_integer(model: _Model) -> Iterator[Diagnostic]:
    for node in model.view.graph.nodes:
        if node.op == "ConvInteger" and (model.arch == "x86" or _depthwise(model.view, node)):
            yield _warn(
                "C208",
                node,
                "ConvInteger is slower than the float Conv",
                "quantize convolutions statically, or leave them float",
            )


# --- placement -----------------------------------------------------------------------------------------------------------


def _before(model: _Model, node: Node) -> tuple[Node | None, bool]:
    """The operator in front of a node's first input, and whether a Q/DQ pair is between."""
    dq = model.view.dq(node.input(0))
    if dq is None:
        return model.source(node.input(0)), False
    return model.source(dq.quantize.data if dq.quantize else dq.node.input(0)), True


def _between_layer_and_clamp(model: _Model) -> Iterator[Diagnostic]:
    for node in (n for n in model.view.graph.nodes if n.op in CLAMPS):
        layer, pair = _before(model, node)
        if layer is not None and pair and (model.integer(layer)):
            text = f"a Q/DQ pair stands between `{label(layer)}` and this {node.op}"
            yield _warn(
                "C207",
                node,
                text,
                f"remove the pair and quantize the result of {node.op} asymmetrically; its range then clamps",
            )


def _unfolded(model: _Model) -> Iterator[Diagnostic]:
    for node in (n for n in model.view.graph.nodes if n.op == "BatchNormalization"):
        layer, pair = _before(model, node)
        foldable = not _clamps_at_zero(model.view.dq(node.input(0)))
        if layer is not None and layer.op in _LAYERS and foldable and (pair or model.view.int8(layer)):
            yield _warn(
                "C212",
                node,
                f"BatchNormalization behind `{label(layer)}` runs in float",
                "fold it into the layer's weights before quantizing",
            )


def _clamps_at_zero(dq: Dequantize | None) -> bool:
    """Whether the smallest code means zero: a Relu may have vanished into such a range, and nothing folds through that."""
    if dq is None or dq.params.zero_point is None or dq.params.dtype not in ("int8", "uint8"):
        return False
    return bool((dq.params.zero_point == np.iinfo(dq.params.dtype).min).all())


def _quantized_at_load(model: _Model) -> Iterator[Diagnostic]:
    hint = "quantize the layer as well, or keep its weight as int16 behind DequantizeLinear, which the runtime leaves alone"
    for node in filter(model.quantized_at_load, model.view.graph.nodes):
        text = f"its float weight `{node.input(1)}` is quantized per tensor when the file is loaded, as its input and output are quantized"
        yield _warn("C209", node, text, hint)


def _dequantized_each_run(model: _Model) -> Iterator[Diagnostic]:
    for dq in (
        d
        for d in model.view.dequantizes.values()
        if d.source is Origin.WEIGHT and len(model.view.shape(d.node.output) or ()) > 1
    ):
        for node in dq.consumers:
            fused = becomes_nbits(model.view, node, dq)
            cause = "" if fused or node.op in QUANTIZE | COMMUTING - {"Gather"} else model.cause(node)
            if cause and dq.params.dtype in ("int16", "uint16"):
                text = f"its weight `{dq.weight}` is dequantized on every run, which keeps the layer in float"
                yield _warn("C211", node, text, "accept the cost, or quantize the layer to 8 bits", Severity.NOTE)
            elif cause:
                text = f"its weight `{dq.weight}` is dequantized on every run, because {cause}"
                yield _warn(
                    "C211",
                    node,
                    text,
                    "let the operator fuse (8-bit input, weight and result), or leave its weight float",
                )


def _islands(model: _Model) -> Iterator[Diagnostic]:
    said = {d.where for rule in (_between_layer_and_clamp, _unfolded, _quantized_at_load) for d in rule(model)}
    for region in float_regions(model.view.graph.nodes, model.float_op, lambda n: n.op in COMMUTING and not n.domain):
        if any(label(n) in said for n in region) or not _enclosed(model, region):
            continue
        text = f"{_names(region)} run{'s' if len(region) == 1 else ''} in float between integer operators, because {model.cause(region[0])}"
        chosen = any(n.op in _LAYERS and not _eight_bit_weight(model.view, n) for n in region)
        hint = "quantize it if the runtime has a kernel, replace it, or let the float part reach the end of the graph"
        yield _warn("C204", region[0], text, hint, Severity.NOTE if chosen else Severity.WARNING)


def _eight_bit_weight(view: QuantizedView, node: Node) -> bool:
    """Whether a layer was meant to be integer; one with a float or 16-bit weight was left float by choice."""
    feed = view.feed(node.input(1))
    return feed is not None and feed.dq.params.dtype in ("int8", "uint8")


def _enclosed(model: _Model, region: list[Node]) -> bool:
    feeds = (
        f
        for n in region
        for name in n.inputs
        if name and (f := model.view.feed(name)) and f.dq.source is not Origin.WEIGHT
    )
    return any(map(model.from_integers, feeds)) and any(
        model.to_integers(q) for n in region for q in _quantizes(model, n)
    )


def _quantizes(model: _Model, node: Node) -> Iterator[Quantize]:
    """The Q nodes that read a node's results."""
    readers = (n for out in node.outputs if out for n in model.view.sinks(out, lambda n: n.op in COMMUTING))
    yield from (model.view.quantizes[n.output] for n in readers if n.op in QUANTIZE)


def _useless_pairs(model: _Model) -> Iterator[Diagnostic]:
    """Pairs with float on both sides."""
    rules = (_between_layer_and_clamp, _unfolded, _dequantized_each_run, _wide)
    said = {d.where for rule in rules for d in rule(model)}
    useless: dict[str, tuple[Node, list[str]]] = {}
    for q in model.activations:
        before = model.source(q.data)
        near = [n for n in (*model.view.sinks(q.node.output, model.transparent), before) if n and model.float_op(n)]
        if near and not model.integer(before) and not model.to_integers(q) and not any(label(n) in said for n in near):
            useless.setdefault(label(near[0]), (near[0], []))[1].append(f"`{q.data}`")
    for node, tensors in useless.values():
        text = f"the Q/DQ of {', '.join(tensors)} serves no integer operator, because {model.cause(node)}"
        yield _warn("C205", node, text, "remove the pair and leave the operator float")


RULES: tuple[Callable[[_Model], Iterator[Diagnostic]], ...] = (
    _signed,
    _unsigned_weights,
    _weight_zero_points,
    _islands,
    _useless_pairs,
    _wide,
    _between_layer_and_clamp,
    _conv_integer,
    _quantized_at_load,
    _dequantized_each_run,
    _unfolded,
)
