"""Small models as text, and the numeric check that every test of a rewrite makes."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx.parser
import onnxruntime
from onnx import numpy_helper

from qconvert.canonicalize import Canonical, canonicalize
from qconvert.graph import Array, Graph, from_proto, serialize

SEED = 7


def random(*shape: int, seed: int = SEED, dtype: Any = np.float32) -> Array:
    return np.random.default_rng(seed + sum(shape)).standard_normal(shape).astype(dtype)


def positive(*shape: int, seed: int = SEED) -> Array:
    return (np.abs(random(*shape, seed=seed)) + 0.5).astype(np.float32)


def batchnorm(channels: int, prefix: str = "bn", dtype: Any = np.float32) -> dict[str, Array]:
    """Parameters of a BatchNormalization called `bn_scale`, `bn_bias`, `bn_mean`, `bn_var`."""
    parts = {
        "scale": positive(channels),
        "bias": random(channels),
        "mean": random(channels, seed=8),
        "var": positive(channels, seed=9),
    }
    return {f"{prefix}_{name}": value.astype(dtype) for name, value in parts.items()}


def model(text: str, opset: int = 17, ir: int = 8, weights: Mapping[str, Array] | None = None) -> Graph:
    """A graph from ONNX text `(inputs) => (outputs) { nodes }`, with weights given as arrays."""
    proto = onnx.parser.parse_model(f'<ir_version: {ir}, opset_import: ["" : {opset}]>\nmodel {text}')
    proto.graph.initializer.extend(
        numpy_helper.from_array(np.ascontiguousarray(value), name) for name, value in (weights or {}).items()
    )
    return from_proto(proto)


def feeds(graph: Graph, seed: int = SEED, free: int = 2) -> dict[str, Array]:
    """Random values for the graph inputs; dimensions that are not fixed get the size `free`."""
    rng, found = np.random.default_rng(seed), {}
    for name in graph.feeds:
        kind = graph.type_of(name)
        shape = [d if isinstance(d, int) else free for d in kind.shape or ()]
        dtype = np.dtype(kind.dtype)
        found[name] = (
            rng.standard_normal(shape).astype(dtype) * 3
            if dtype.kind == "f"
            else rng.integers(0, 2, shape).astype(dtype)
        )
    return found


def run(graph: Graph, values: Mapping[str, Array]) -> list[Array]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(serialize(graph), options, providers=["CPUExecutionProvider"])
    return session.run(list(graph.outputs), dict(values))


def check(graph: Graph, extra: Sequence[str] = (), opset: int = 13, rtol: float = 1e-4) -> Canonical:
    """Canonicalize, and assert that outputs keep their names and values and that a second time changes nothing."""
    result = canonicalize(graph, opset, extra)
    assert result.graph.outputs == graph.outputs
    values = feeds(graph)
    for before, after in zip(run(graph, values), run(result.graph, values), strict=True):
        assert before.shape == after.shape
        assert before.dtype == after.dtype
        scale = float(np.abs(before.astype(np.float64)).max(initial=0.0))
        np.testing.assert_allclose(
            after.astype(np.float64), before.astype(np.float64), rtol=rtol, atol=rtol * scale + 1e-30
        )
    again = canonicalize(result.graph, opset, extra)
    assert again.applied == ()
    assert str(again.graph) == str(result.graph)
    assert [str(d) for d in again.diagnostics] == [str(d) for d in result.diagnostics]
    return result


def ops(result: Canonical) -> list[str]:
    return [node.op for node in result.graph.nodes]


def lines(result: Canonical, rule: str) -> tuple[str, ...]:
    return next((applied.lines for applied in result.applied if applied.rule == rule), ())


def reasons(result: Canonical) -> list[str]:
    assert all(d.code == "M100" and d.severity == "note" for d in result.diagnostics)
    return [f"{d.where}: {d.message}" for d in result.diagnostics]
