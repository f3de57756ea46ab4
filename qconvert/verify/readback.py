"""What the runtime really executes, read from the graph that it optimized, node by node against the plan.

Fusions keep the name of the main node and nearly all tensor names, which gives four kinds of evidence, taken in this order:

1. the node's name, with what onnxruntime appends to it (`_token_3`, `/MatMulAddFusion`);
2. the name of its result: `<out>/raw`, `<out>/q`, `<out>` (see `emit.qdq`), seen through inserted Transposes and conversions;
3. the name of its weight: `<weight>/codes`, or the float weight;
4. a reader that swallowed it: the next traced node down the graph.

Where all four fail the node is reported as not traced (kernel "?"), and never as integer.
"""

from __future__ import annotations

import re
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence, Set
from functools import cached_property
from pathlib import Path

import onnx

from ..errors import Diagnostic, Severity
from ..graph import Graph, Node, from_proto, load
from ..ops import CLAMPS
from ..plan import Kind, NodePlan, Plan
from ..runtime import Options, Session
from .model import Readback, RunsAs
from .onnxruntime_fusion import INTEGER, float_regions, why_float
from .quantized import QuantizedView

UNTRACED = "?"
_AT_LOAD = "onnxruntime quantizes its float weight"
_CONVERSIONS = frozenset({"QuantizeLinear", "DequantizeLinear"})
_HELPERS = frozenset({*_CONVERSIONS, "Transpose", "ReorderInput", "ReorderOutput", "DynamicQuantizeLinear"})
_FLOAT_RESULT = frozenset({
    "MatMulIntegerToFloat", "DynamicQuantizeMatMul", "DynamicQuantizeLSTM", "QAttention", "MatMulNBits", "GatherBlockQuantized",
})  # fmt: skip
_BLENDS = frozenset({"Cast", "DequantizeLinear", "Shape", "ArgMax", *_FLOAT_RESULT})  # integers in, something else out
_APPENDED = re.compile(r"(_token_\d+|/\w*Fusion/?\w*|_nchwc|_nhwc)+$")
_PREFIX = re.compile(r"^(QLinear|DynamicQuantize|Fused|Nhwc|Skip|Quick|Bias|Q(?=[A-Z]))+")
_SUFFIX = re.compile(r"(Integer|IntegerToFloat|NBits)$")
_QGEMM_SCALE = 7  # input that is there only if QGemm writes integers
_WEIGHTS_FILE = (
    ("session.optimized_model_external_initializers_file_name", "weights.bin"),
    ("session.optimized_model_external_initializers_min_size_in_bytes", "1024"),
)


def read_back(artefact: bytes | Path, graph: Graph, plan: Plan) -> Readback:
    """Open the artefact with all optimizations and say what runs each node of the plan.

    Args:
        artefact: the quantized model.
        graph: the canonical FP32 graph that was planned.
        plan: what was asked for.
    """
    trace = _Trace(graph, plan, _Optimized(optimized_graph(artefact)))
    emitted = _Emitted(artefact)
    islands = trace.islands()
    nodes = tuple(_runs_as(trace, emitted, node, islands) for node in graph.nodes)
    return Readback(
        nodes=nodes,
        kernels=dict(sorted(Counter(map(_label, trace.real.graph.nodes)).items())),
        integer_macs=_share(plan.nodes, nodes),
        conversions=sum(n.op in _CONVERSIONS for n in trace.real.graph.nodes),
        islands=tuple(node.name for node in graph.nodes if node.name in islands),
    )


def findings(readback: Readback) -> tuple[Diagnostic, ...]:
    """Where the runtime did not do what the plan asked for, as warnings; V101, and C209 for weights that it quantized itself."""
    return tuple(d for d in map(_finding, readback.nodes) if d is not None)


def _finding(node: RunsAs) -> Diagnostic | None:
    if node.kernel == UNTRACED and not Kind(node.asked).floating:
        return Diagnostic(
            "V101", "it is not found in the optimized graph, so it counts as float", node.node, None, Severity.NOTE
        )
    if node.asked == Kind.WEIGHT_ONLY:
        return Diagnostic("C211", node.cause, node.node, None, Severity.WARNING) if node.cause else None
    if not Kind(node.asked).floating and not node.integer:
        return Diagnostic("V101", f"{node.op} runs in float: {node.cause}", node.node, None, Severity.WARNING)
    if Kind(node.asked).floating and node.cause.startswith(_AT_LOAD):
        hint = "leave its neighbours float as well, or keep its weight as int16 behind DequantizeLinear"
        return Diagnostic("C209", node.cause, node.node, hint, Severity.WARNING)
    return None


def optimized_graph(artefact: bytes | Path) -> Graph:
    """The graph that onnxruntime executes with all optimizations; large weights are not read."""
    with tempfile.TemporaryDirectory(prefix="qconvert-") as folder:
        path = Path(folder) / "optimized.onnx"
        Session(artefact, Options(config=_WEIGHTS_FILE, optimized_path=path), "V002")
        return from_proto(onnx.load(str(path), load_external_data=False))


def _share(plans: Mapping[str, NodePlan], nodes: Sequence[RunsAs]) -> float:
    total = sum(p.macs for p in plans.values())
    return sum(plans[n.node].macs for n in nodes if n.integer) / total if total else 0.0


def _label(node: Node) -> str:
    return f"nchwc.{node.op}" if node.domain == "com.microsoft.nchwc" else node.op


class _Optimized:
    """The optimized graph with what tracing asks of it."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph

    @cached_property
    def integers(self) -> frozenset[str]:
        """Values that hold 8-bit codes; found by following them, as the runtime does not record types of what it adds."""
        known = {name for name in self.graph.weights if self.graph.type_of(name).dtype in ("int8", "uint8")}
        for node in self.graph.nodes:
            if self._writes_integers(node, known):
                known.add(node.outputs[0]) if node.op == "DynamicQuantizeLinear" else known.update(node.outputs)
        return frozenset(known)

    def _writes_integers(self, node: Node, known: Set[str]) -> bool:
        if node.op in ("QuantizeLinear", "DynamicQuantizeLinear"):
            return True
        if node.op == "QGemm":
            return bool(node.input(_QGEMM_SCALE))
        if node.op in _BLENDS or node.op.endswith("Integer"):
            return False
        return node.op.startswith("QLinear") or (bool(node.inputs) and node.inputs[0] in known)

    def integer(self, node: Node) -> bool:
        """Whether a node computes in integers or moves them."""
        return node.op in INTEGER or (
            node.op not in _HELPERS - {"Transpose"} and self._writes_integers(node, self.integers)
        )

    @cached_property
    def named(self) -> Mapping[str, Node]:
        """Nodes by their name, and by what remains of it without what the runtime appends."""
        bases = {_APPENDED.sub("", n.name): n for n in reversed(self.graph.nodes) if n.op not in _HELPERS}
        return {**bases, **{n.name: n for n in self.graph.nodes if n.name}}

    def worker(self, name: str) -> Node | None:
        """The node that computes a value, seen through inserted Transposes and conversions."""
        node = self.graph.producer.get(name) or self.named.get(f"{name}_nchwc")
        while node is not None and node.op in _HELPERS:
            node = self.graph.producer.get(node.input(0))
        return node


class _Found:
    """What a node was traced to: `own` if that node does its work, not only that of a neighbour it went into."""

    def __init__(self, kernel: Node | None, own: bool) -> None:
        self.kernel, self.own = kernel, own


class _Trace:
    """The way from nodes of the plan to nodes of the optimized graph."""

    def __init__(self, graph: Graph, plan: Plan, real: _Optimized) -> None:
        self.graph, self.plan, self.real = graph, plan, real
        self._hosted = {p.host: self.graph.by_name[name] for name, p in plan.nodes.items() if p.kind is Kind.ABSORBED}
        self.found: dict[str, _Found] = {}
        for node in reversed(graph.nodes):
            self.found[node.name] = self._find(node)

    def _find(self, node: Node) -> _Found:
        if self.plan.nodes[node.name].kind is Kind.ABSORBED:
            return _Found(None, False)
        for kernel in (self._by_name(node), self._by_result(node), self._by_weight(node)):
            if kernel is not None:
                return _Found(kernel, True)
        swallowed = next((k for k in (self.real.worker(name) for name in self._results(node)) if k is not None), None)
        return _Found(swallowed or self._by_readers(node), False)

    def _by_name(self, node: Node) -> Node | None:
        for name in (node.name, f"{node.name}/MatMulInteger", f"{node.name}/codes"):
            kernel = self.real.named.get(name)
            if kernel is not None and (kernel.op not in _HELPERS or kernel.op == node.op):
                return kernel
        return None

    def _results(self, node: Node) -> Iterator[str]:
        clamp = self._hosted.get(node.name)
        for out in (o for o in (*node.outputs, *(clamp.outputs if clamp else ())) if o):
            yield from (f"{out}/raw", f"{out}/q", out)

    def _by_result(self, node: Node) -> Node | None:
        kernels = (self.real.worker(name) for name in self._results(node))
        return next((k for k in kernels if k is not None and does(k.op, node.op)), None)

    def _by_weight(self, node: Node) -> Node | None:
        weight = node.input(1)
        if weight not in self.graph.weights or self.graph.sole_consumer(weight) is None:
            return None
        users = [
            u for name in (f"{weight}/codes", f"{weight}/int8", weight) for u in self.real.graph.consumers_of(name)
        ]
        return next((u for u in users if u.op not in _HELPERS and does(u.op, node.op)), None)

    def _by_readers(self, node: Node) -> Node | None:
        """What the nearest reader became, if the node's result is no longer there."""
        if any(name in self.real.graph.producer for name in node.outputs):
            return None
        readers = (r for out in node.outputs for r in self.graph.consumers_of(out))
        return next((k for r in readers if r.name in self.found and (k := self.found[r.name].kernel)), None)

    def kernel(self, node: Node) -> Node | None:
        """The node that does the work, for a clamp that of its host."""
        host = self.plan.nodes[node.name].host
        return self.found[host or node.name].kernel

    def folded(self, node: Node) -> bool:
        """Whether the node's results were computed when the file was loaded."""
        outs = [out for out in node.outputs if out]
        return any(out in self.real.graph.weights for out in outs) or not any(self._varies(out) for out in outs)

    def _varies(self, name: str) -> bool:
        return name in self._varying

    @cached_property
    def _varying(self) -> frozenset[str]:
        """Values that depend on the data itself; shapes do only where they are not fixed."""
        known = set(self.graph.feeds)
        for node in self.graph.nodes:
            shape = self.graph.type_of(node.input(0)).shape if node.inputs else None
            fixed = node.op in ("Shape", "Size") and shape is not None and all(isinstance(d, int) for d in shape)
            if not fixed and (not known.isdisjoint(node.reads) or (not node.inputs and node.op.startswith("Random"))):
                known.update(node.outputs)
        return frozenset(known)

    def islands(self) -> frozenset[str]:
        """Names of the plan's nodes in float regions that start at a DQ (or an integer kernel) and end at a Q."""
        regions = float_regions(
            self.real.graph.nodes,
            self._computes_floats,
            lambda n: n.op in ("Transpose", "ReorderInput", "ReorderOutput"),
        )
        inside = {id(k) for region in regions if self._enclosed(region) for k in region}
        return frozenset(n.name for n in self.graph.nodes if (k := self.kernel(n)) is not None and id(k) in inside)

    def _computes_floats(self, node: Node) -> bool:
        dtype = self.real.graph.type_of(node.outputs[0]).dtype if node.outputs else None
        return node.op not in _HELPERS and dtype in ("float32", "float16", None) and not self.real.integer(node)

    def _enclosed(self, region: Sequence[Node]) -> bool:
        return any(self._starts(n) for n in region) and any(self._ends(n) for n in region)

    def _starts(self, node: Node) -> bool:
        real = self.real
        before = [p for name in node.reads if (p := self._through(real.graph.producer.get(name)))]
        return any(
            p.op in INTEGER or (p.op == "DequantizeLinear" and p.input(0) not in real.graph.weights) for p in before
        )

    def _through(self, node: Node | None) -> Node | None:
        while node is not None and node.op in ("Transpose", "ReorderInput", "ReorderOutput"):
            node = self.real.graph.producer.get(node.input(0))
        return node

    def _ends(self, node: Node) -> bool:
        waiting = list(node.outputs)
        while waiting:
            for reader in self.real.graph.consumers_of(waiting.pop()):
                if reader.op == "QuantizeLinear":
                    return True
                waiting += reader.outputs if reader.op in ("Transpose", "ReorderInput", "ReorderOutput") else ()
        return False


def does(kernel: str, op: str) -> bool:
    """Whether a kernel by its name does the work of an operator."""
    base = _PREFIX.sub("", _SUFFIX.sub("", kernel))
    return op in (kernel, base) or {op, base} == {"Gemm", "MatMul"}


class _Emitted:
    """The artefact as it was written; loaded only if a cause has to be found."""

    def __init__(self, artefact: bytes | Path) -> None:
        self._artefact = artefact

    @cached_property
    def view(self) -> QuantizedView:
        """The artefact with its Q/DQ pairs made readable."""
        source = self._artefact
        return QuantizedView(
            load(source) if isinstance(source, Path) else from_proto(onnx.ModelProto.FromString(source))
        )

    def cause(self, name: str) -> str:
        """Why the runtime could not fuse a node; "" if the file gives no reason."""
        node = self.view.graph.by_name.get(name)
        return "" if node is None else why_float(self.view, node) or self._signed(node)

    def _signed(self, node: Node) -> str:
        for name in (*node.inputs, *node.outputs):
            dq = self.view.dq(name)
            q = (
                dq.quantize
                if dq
                else next((self.view.q(n.output) for n in self.view.consumers(name) if self.view.q(n.output)), None)
            )
            if q is not None and q.params.dtype == "int8" and not q.constant:
                count = sum(len(pair.consumers) for pair in self.view.pairs_of(q))
                if count > 1:
                    return f"`{q.data}` is int8 and has {count} consumers"
        return ""


def _runs_as(trace: _Trace, emitted: _Emitted, node: Node, islands: frozenset[str]) -> RunsAs:
    asked, found, kernel = trace.plan.nodes[node.name].kind, trace.found[node.name], trace.kernel(node)
    if kernel is None and trace.folded(node):
        return RunsAs(node=node.name, op=node.op, asked=asked.value, kernel="", integer=False)
    if kernel is None:
        return RunsAs(
            node=node.name,
            op=node.op,
            asked=asked.value,
            kernel=UNTRACED,
            integer=False,
            cause="not found in the optimized graph",
        )
    integer = trace.real.integer(kernel)
    name = _label(kernel) if found.own or does(kernel.op, node.op) else ""
    cause = _cause(trace, emitted, node, kernel, integer)
    if not cause and node.name in islands:
        cause = f"float island: {trace.plan.nodes[node.name].reason or 'not integer by plan'}"
    return RunsAs(node=node.name, op=node.op, asked=asked.value, kernel=name, integer=integer, cause=cause)


def _cause(trace: _Trace, emitted: _Emitted, node: Node, kernel: Node, integer: bool) -> str:
    """Why the runtime did not do what was asked; "" if it did."""
    chosen = trace.plan.nodes[node.name]
    if chosen.kind is Kind.WEIGHT_ONLY:
        rebuilt = any(n.op == "DequantizeLinear" for i in kernel.inputs if (n := trace.real.graph.producer.get(i)))
        return "its weight is dequantized on every run" if rebuilt and not integer else ""
    if chosen.kind.floating != integer:
        return ""
    if not integer:
        host = f"its host `{chosen.host}`: " if chosen.host else ""
        return host + (emitted.cause(chosen.host or node.name) or f"onnxruntime runs it as float {_label(kernel)}")
    if node.op in CLAMPS:
        return "went into the range of a quantized tensor"
    if not trace.found[node.name].own:
        return f"went into {_label(kernel)}"
    if node.input(1) in trace.graph.weights and kernel.op in ("QLinearConv", "QGemm"):
        return (
            f"onnxruntime quantizes its float weight `{node.input(1)}` at load, as its input and output are quantized"
        )
    return "onnxruntime moves the conversions past it"
