"""Small models as text, and the way of a model through plan, calibration and emission, for every test that needs it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx.parser
from onnx import numpy_helper

from qconvert.calibrate import QuantParams, Sketch, Sketcher, activation_params, collect, weight_params
from qconvert.data import Sample
from qconvert.emit import EMITTERS, emit_qdq
from qconvert.graph import Array, Graph, Node, from_proto, infer_types
from qconvert.optimize import Draft, Lab, split
from qconvert.plan import Plan, plan
from qconvert.recipe.types import Change, Recipe
from qconvert.runtime import Feed, Options, concrete_shapes, opened
from qconvert.targets import TARGETS, Target


def on_onnxruntime(target: Target) -> bool:
    """Whether the target's file is deployed with onnxruntime, so that its fusions can be read back here."""
    return "qoperator" in target.artefact.formats


X86 = TARGETS["x86-vnni"]


def has_vnni() -> bool:
    """Whether products of uint8 and int8 cannot saturate on this machine."""
    info = Path("/proc/cpuinfo")
    flags = info.read_text() if info.exists() else ""
    return not flags or "Features" in flags or "_vnni" in flags


EVERYWHERE = Recipe(
    placement="everywhere",
    mode="static",
    reduce_range=not has_vnni(),
    calibration={"method": "min-max", "weights": "min-max"},
)


def text_model(text: str, opset: int = 17, **weights: Array) -> Graph:
    """A graph from ONNX text `(inputs) => (outputs) { nodes }`; nodes are called after their first output."""
    proto = onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["" : {opset}]>\nmodel {text}')
    proto.graph.initializer.extend(numpy_helper.from_array(np.asarray(value), name) for name, value in weights.items())
    graph = from_proto(proto)
    return infer_types(graph.with_(nodes=tuple(node.with_(name=f"n_{node.output}") for node in graph.nodes)))


def random(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed + sum(shape)).standard_normal(shape).astype(np.float32)


def feeds_of(graph: Graph, count: int = 3, seed: int = 0) -> list[Feed]:
    """Random float inputs, each input with its own spread and offset."""
    rng = np.random.default_rng(seed)
    return [
        {
            name: (rng.standard_normal([int(d) for d in graph.type_of(name).shape or ()]) * (n + 1) + 0.3 * n).astype(
                np.float32
            )
            for n, name in enumerate(graph.feeds)
        }
        for _ in range(count)
    ]


@dataclass(frozen=True)
class Quantized:
    """Every value on the way of one model."""

    graph: Graph
    plan: Plan
    activations: Mapping[str, QuantParams]
    weights: Mapping[tuple[str, int], QuantParams]
    sketches: Mapping[str, Sketch] = field(default_factory=dict)

    def emit(self, form: str = "qdq") -> Graph:
        return EMITTERS[form](self.graph, self.plan, self.activations, self.weights)


def planned(
    graph: Graph,
    target: Target = X86,
    recipe: Recipe = EVERYWHERE,
    *,
    nodes: Mapping[str, Any] | None = None,
    tensors: Mapping[str, Any] | None = None,
) -> Plan:
    """The plan of a model; rules are given as `{"name": {"keep": "float"}}`."""
    rules = [{name: Change(**changes) for name, changes in (given or {}).items()} for given in (nodes, tensors)]
    return plan(graph, target, recipe, concrete_shapes(graph, {}), *rules)


def quantized(
    graph: Graph,
    feeds: Sequence[Feed],
    target: Target = X86,
    recipe: Recipe = EVERYWHERE,
    *,
    nodes: Mapping[str, Any] | None = None,
    tensors: Mapping[str, Any] | None = None,
) -> Quantized:
    """Plan a model and calibrate it on the given inputs."""
    made = planned(graph, target, recipe, nodes=nodes, tensors=tensors)
    sketchers = {name: Sketcher() for name in made.taps}
    collect(
        graph, [Sample(str(n), feed) for n, feed in enumerate(feeds)], {name: (s,) for name, s in sketchers.items()}
    )
    sketches = {name: s.result() for name, s in sketchers.items()}
    activations = activation_params(made, sketches, recipe.calibration)
    return Quantized(graph, made, activations, weight_params(graph, made, activations, recipe.calibration), sketches)


def bench(graph: Graph, feeds: Sequence[Feed], recipe: Recipe = EVERYWHERE, target: Target = X86) -> tuple[Draft, Lab]:
    """A first draft of a model, and the laboratory for algorithms on it."""
    made = quantized(graph, feeds, target, recipe)
    fit, held_out = split(feeds)
    lab = Lab(
        graph,
        fit,
        held_out,
        recipe.calibration,
        target,
        lambda e, g: plan(g, target, recipe, concrete_shapes(g, {}), e.nodes, e.tensors, e.kept),
        lambda d: emit_qdq(d.graph, d.plan, d.activations, d.weights),
        Options(),
    )
    return Draft(graph, graph, made.plan, made.sketches, made.activations, made.weights), lab


def run(
    graph: Graph,
    feeds: Sequence[Feed],
    optimize: bool = True,
    config: tuple[tuple[str, str], ...] = (),
    saved: Path | None = None,
) -> list[dict[str, Array]]:
    """Outputs of a graph for each input."""
    with opened(graph, Options(optimize=optimize, config=config, optimized_path=saved)) as session:
        return [session.run(feed) for feed in feeds]


def optimized(graph: Graph, folder: Path) -> Graph:
    """The graph that onnxruntime really executes."""
    path = folder / "optimized.onnx"
    with opened(graph, Options(optimized_path=path)):
        return from_proto(onnx.load(path))


FLOAT_RESULT = ("DequantizeLinear", "MatMulIntegerToFloat")


def float_nodes(graph: Graph) -> list[Node]:
    """Nodes of an optimized graph that compute on a float activation: one that is fed or dequantized."""
    floats = {name for name in graph.feeds if graph.type_of(name).dtype == "float32"}
    found: list[Node] = []
    for node in graph.nodes:
        if node.op == "QuantizeLinear":
            continue
        if node.op in FLOAT_RESULT or (node.op == "QGemm" and not node.input(7)):
            floats.update(node.outputs)
        elif any(name in floats for name in node.inputs):
            found.append(node)
            floats.update(node.outputs)
    return found


def ops(graph: Graph) -> list[str]:
    return [node.op for node in graph.nodes]
