"""The operator oracle: every operator that a target claims, in many shapes, through every stage, against FP32.

The parameters come from the targets' tables, so a new row without instances here fails. Three things are asserted:

* the error against FP32 is at most what the formats imply: half a step of the output, plus what half a step of each operand
  can do to the operator, found by running the operator itself in FP32 (see `_propagated`);
* with onnxruntime's optimizations the operator has become an integer kernel, in each of the target's file formats;
* the operator form and the Q/DQ form agree to within one step of the output.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pytest
from quantize_support import (
    EVERYWHERE,
    X86,
    Quantized,
    float_nodes,
    on_onnxruntime,
    ops,
    optimized,
    planned,
    quantized,
    run,
)

from qconvert.emit.qoperator import BUILDERS
from qconvert.graph import Array, Graph, Node, TensorType, infer_types, weight
from qconvert.ops import ATTENTION, OPS, Role
from qconvert.plan import Kind
from qconvert.recipe.types import Recipe
from qconvert.runtime import Feed
from qconvert.targets import TARGETS, Kernel, Target

Slot: TypeAlias = tuple[int, ...] | Array | None  # an activation of this shape, a constant, or an omitted input


@dataclass(frozen=True)
class Case:
    """One call of an operator."""

    label: str
    op: str
    slots: tuple[Slot, ...]
    attributes: Mapping[str, Any]
    outputs: int = 1
    opset: int = 17

    @property
    def names(self) -> tuple[str, ...]:
        return tuple("" if slot is None else f"x{i}" for i, slot in enumerate(self.slots))

    def graph(self, open_: bool = False) -> Graph:
        """The call as a model; `open_` makes the float constants inputs as well."""
        fed = {n: s for n, s in zip(self.names, self.slots, strict=True) if isinstance(s, tuple)}
        constants = {n: s for n, s in zip(self.names, self.slots, strict=True) if isinstance(s, np.ndarray)}
        if open_:
            fed |= {n: c.shape for n, c in constants.items() if c.dtype == np.float32}
        outputs = tuple(f"y{i}" for i in range(self.outputs))
        types = {n: TensorType("float32", tuple(shape)) for n, shape in fed.items()}
        types |= {name: TensorType("float32") for name in outputs}
        weights = {n: weight(c) for n, c in constants.items() if n not in fed}
        return infer_types(
            Graph(
                (Node(self.op, self.names, outputs, dict(self.attributes), "node"),),
                tuple(fed),
                outputs,
                weights,
                types,
                {"": self.opset},
            )
        )


def _c(*shape: int, scale: float = 1.0) -> Array:
    return (np.random.default_rng(sum(shape) + 3).standard_normal(shape) * scale).astype(np.float32)


def _s(value: float) -> Array:
    return np.array(value, np.float32)


def _i(*values: int) -> Array:
    return np.array(values, np.int64)


Row: TypeAlias = tuple[Any, ...]  # (label, slots, attributes, number of outputs)

_POOL: list[Row] = [
    ("3x3", [(1, 8, 9, 11)], {"kernel_shape": (3, 3), "strides": (2, 2)}),
    ("asymmetric pads", [(1, 5, 8, 7)], {"kernel_shape": (3, 2), "pads": (1, 0, 2, 1), "strides": (1, 2)}),
    ("1-d", [(1, 6, 15)], {"kernel_shape": (3,), "strides": (2,)}),
    ("ceil", [(1, 4, 8, 8)], {"kernel_shape": (3, 3), "strides": (2, 2), "ceil_mode": 1}),
]
_PAIR: list[Row] = [
    ("same shape", [(1, 7, 5, 3), (1, 7, 5, 3)], {}),
    ("broadcast", [(2, 7, 5, 3), (1, 7, 1, 1)], {}),
    ("scalar constant", [(1, 4, 9), _s(0.37)], {}),
    ("channel constant first", [_c(1, 6, 1, 1), (1, 6, 5, 5)], {}),
    ("negative constant", [(1, 4, 9), np.full((1,), -2.5, np.float32)], {}),
    ("rank 2", [(33, 17), (17,)], {}),
]
_UNARY: list[Row] = [("rank 4", [(1, 7, 5, 3)], {}), ("rank 2", [(3, 129)], {}), ("rank 1", [(37,)], {})]
_REDUCE: list[Row] = [
    ("axis", [(2, 6, 5)], {"axes": (-1,), "keepdims": 0}),
    ("two axes", [(1, 6, 5, 4)], {"axes": (2, 3)}),
]

CASES: dict[str, list[Row]] = {
    "Conv": [
        ("3x3", [(1, 8, 9, 11), _c(16, 8, 3, 3), _c(16)], {"pads": (1, 1, 1, 1)}),
        ("no bias", [(1, 4, 7, 7), _c(16, 4, 3, 3)], {}),
        ("1x1 odd channels", [(2, 7, 5, 6), _c(13, 7, 1, 1), _c(13)], {}),
        ("asymmetric pads, strides", [(1, 3, 13, 10), _c(8, 3, 5, 3), _c(8)], {"pads": (2, 0, 1, 3), "strides": (2, 1)}),
        ("dilation", [(1, 4, 12, 12), _c(6, 4, 3, 3), _c(6)], {"dilations": (2, 3), "pads": (2, 3, 2, 3)}),
        ("depthwise", [(1, 16, 10, 10), _c(16, 1, 3, 3), _c(16)], {"group": 16, "pads": (1, 1, 1, 1)}),
        ("depthwise odd, multiplier", [(1, 5, 9, 9), _c(10, 1, 3, 3), _c(10)], {"group": 5, "strides": (2, 2)}),
        ("groups", [(1, 32, 6, 6), _c(32, 16, 3, 3), _c(32)], {"group": 2}),
        ("1-d", [(1, 8, 21), _c(12, 8, 3), _c(12)], {"pads": (1, 1)}),
        ("1-d depthwise", [(1, 8, 21), _c(8, 1, 5), _c(8)], {"group": 8, "dilations": (2,)}),
        ("dead channel", [(1, 4, 6, 6), _c(4, 4, 3, 3) * np.float32([1, 0, 1, 1]).reshape(4, 1, 1, 1), _c(4)], {}),
        ("large bias", [(1, 4, 6, 6), _c(4, 4, 3, 3, scale=1e-3), _c(4, scale=5.0)], {}),
    ],
    "ConvTranspose": [
        ("2x2", [(1, 8, 5, 5), _c(8, 6, 2, 2), _c(6)], {"strides": (2, 2)}),
        ("groups, output padding", [(1, 8, 5, 5), _c(8, 3, 3, 3), _c(6)], {"strides": (2, 2), "group": 2, "output_padding": (1, 1)}),
    ],
    "Gemm": [
        ("transB", [(5, 33), _c(10, 33), _c(10)], {"transB": 1}),
        ("plain", [(5, 32), _c(32, 11), _c(11)], {}),
        ("no bias", [(1, 17), _c(17, 8)], {}),
        ("bias of one row", [(3, 16), _c(16, 8), _c(1, 8)], {}),
        ("one bias for all", [(3, 16), _c(16, 8), _c(1)], {}),
        ("bias a column", [(3, 16), _c(16, 8), _c(3, 1)], {}),
        ("bias a matrix", [(3, 16), _c(16, 8), _c(3, 8)], {}),
        ("16 columns", [(5, 32), _c(32, 16), _c(16)], {}),
        ("bias fed", [(3, 16), _c(16, 8), (8,)], {}),
        ("transA", [(16, 5), _c(16, 8), _c(8)], {"transA": 1}),
    ],
    "MatMul": [
        ("rank 2", [(5, 33), _c(33, 12)], {}),
        ("rank 3", [(2, 5, 16), _c(16, 9)], {}),
        ("rank 4", [(1, 3, 5, 16), _c(16, 8)], {}),
        ("vector", [(4, 16), _c(16)], {}),
        ("rank 1 input", [(16,), _c(16, 8)], {}),
        ("batched weight", [(3, 5, 16), _c(3, 16, 8)], {}),
        ("two activations", [(2, 5, 16), (2, 16, 7)], {}),
        ("constant first", [_c(9, 16), (16, 7)], {}),
    ],
    "Add": _PAIR,
    "Sub": _PAIR,
    "Mul": _PAIR,
    "Div": [("channel constant", [(1, 6, 5, 5), np.abs(_c(1, 6, 1, 1)) + 1], {})],
    "Where": [("mask", [np.arange(35).reshape(1, 5, 7) % 3 == 0, (2, 5, 7), (2, 5, 7)], {})],
    "Concat": [
        ("channels", [(1, 3, 5, 4), (1, 7, 5, 4)], {"axis": 1}),
        ("negative axis, three", [(2, 3, 4), (2, 3, 1), (2, 3, 6)], {"axis": -1}),
        ("constant", [(1, 4, 3), _c(1, 2, 3)], {"axis": 1}),
        ("one input", [(1, 4, 3)], {"axis": 1}),
    ],
    "AveragePool": [*_POOL, ("padding counts", [(1, 5, 8, 8)], {"kernel_shape": (3, 3), "pads": (1, 1, 1, 1), "count_include_pad": 1})],
    "GlobalAveragePool": [("odd", [(2, 7, 5, 3)], {}), ("16 channels", [(1, 16, 8, 8)], {}), ("1-d", [(1, 6, 9)], {}), ("3-d", [(1, 4, 3, 3, 3)], {})],
    "ReduceMean": [*_REDUCE, ("all", [(3, 5)], {})],
    "Sigmoid": _UNARY,
    "HardSigmoid": [*_UNARY, ("slope", [(3, 20)], {"alpha": 0.3, "beta": 0.4})],
    "Tanh": _UNARY,
    "Softmax": [("last axis", [(2, 5, 9)], {"axis": -1}), ("channels", [(1, 6, 3, 4)], {"axis": 1})],
    "LeakyRelu": [*_UNARY, ("slope", [(3, 20)], {"alpha": 0.2})],
    "HardSwish": _UNARY,
    "Relu": _UNARY,
    "Clip": [("six", [(2, 20), _s(0), _s(6)], {})],
    "Reshape": [("fixed", [(2, 6, 4), _i(2, -1)], {}), ("zero copies", [(2, 6, 4), _i(0, 0, 2, 2)], {})],
    "Flatten": [("axis 1", [(2, 3, 4)], {}), ("negative axis", [(2, 3, 4, 5)], {"axis": -2})],
    "Squeeze": [("axes", [(1, 3, 1, 4), _i(0, -2)], {}), ("all", [(1, 3, 1, 4)], {})],
    "Unsqueeze": [("axes", [(3, 4), _i(0, -1)], {})],
    "Transpose": [("channels last", [(1, 3, 5, 4)], {"perm": (0, 2, 3, 1)}), ("default", [(3, 5)], {}), ("rank 5", [(1, 2, 3, 4, 5)], {"perm": (0, 2, 1, 3, 4)})],
    "Slice": [
        ("negative ends, steps", [(2, 9, 7), _i(1, -6), _i(-1, 100), _i(1, -1), _i(2, 1)], {}),
        ("reversed", [(4, 6), _i(-1), _i(-100), _i(0), _i(-1)], {}),
    ],
    "Split": [
        ("two", [(2, 8, 3)], {"axis": 1}, 2),
        ("sizes, negative axis", [(2, 3, 9), _i(2, 3, 4)], {"axis": -1}, 3),
        ("one", [(2, 4)], {"axis": 1}, 1),
    ],
    "Expand": [("rows", [(1, 5, 1), _i(3, 1, 4)], {})],
    "Tile": [("twice", [(2, 3), _i(1, 2)], {})],
    "Gather": [("columns", [(3, 5, 4), _i(3, 0, -1)], {"axis": 1}), ("scalar", [(3, 5), np.array(2, np.int64)], {"axis": -1})],
    "DepthToSpace": [("crd", [(1, 8, 3, 4)], {"blocksize": 2, "mode": "CRD"}), ("dcr", [(1, 12, 3, 4)], {"blocksize": 2})],
    "SpaceToDepth": [("2", [(1, 3, 4, 6)], {"blocksize": 2})],
    "Pad": [
        ("zeros", [(1, 3, 4, 5), _i(0, 0, 1, 2, 0, 0, 0, 3)], {}),
        ("constant", [(2, 5), _i(0, 1, 0, 2), _s(0.5)], {}),
        ("reflect", [(1, 2, 5, 5), _i(0, 0, 1, 1, 0, 0, 1, 1)], {"mode": "reflect"}),
        ("edge", [(1, 2, 5, 5), _i(0, 0, 1, 1, 0, 0, 1, 1)], {"mode": "edge"}),
    ],
    "MaxPool": [*_POOL, ("dilation", [(1, 4, 9, 9)], {"kernel_shape": (2, 2), "dilations": (2, 2)}), ("indices", [(1, 4, 8, 8)], {"kernel_shape": (2, 2)}, 1)],
    "GlobalMaxPool": [("odd", [(2, 7, 5, 3)], {})],
    "ReduceMax": _REDUCE,
    "ReduceMin": _REDUCE,
    "Resize": [
        ("nearest, twice", [(1, 3, 4, 5), None, np.float32([1, 1, 2, 2])], {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}),
        ("nearest, sizes", [(1, 3, 4, 5), None, None, _i(1, 3, 7, 9)], {"mode": "nearest"}),
        ("linear", [(1, 3, 4, 5), None, np.float32([1, 1, 2, 2])], {"mode": "linear"}),
    ],
}  # fmt: skip


def _cases(op: str) -> list[Case]:
    return [Case(row[0], op, tuple(row[1]), row[2], *row[3:]) for row in CASES.get(op, [])]


def _feeds(graph: Graph, fed: tuple[str, ...]) -> list[Feed]:
    rng = np.random.default_rng(5)
    return [
        {
            name: (rng.standard_normal(graph.type_of(name).shape) * (1.5 + n) + 0.4 * n).astype(np.float32)
            for n, name in enumerate(fed)
        }  # type: ignore[arg-type]
        for _ in range(3)
    ]


# --- the bound ---------------------------------------------------------------------------------------------------------

MULTILINEAR = {"Conv", "ConvTranspose", "Gemm", "MatMul", "Mul"}
SLOPES = {"HardSwish": 1.5, "Tanh": 1.0, "HardSigmoid": 1.0}
MONOTONE = set(OPS) - MULTILINEAR - set(SLOPES) - {"Softmax", "Sub", "Div"}  # in every operand


def _half_steps(case: Case, made: Quantized, feed: Feed) -> dict[str, Array]:
    """Half a step of each operand that is quantized, shaped to broadcast against it."""
    found: dict[str, Array] = {}
    reading = made.plan.nodes["node"].reads
    if made.plan.nodes["node"].kind is Kind.DYNAMIC:
        found["x0"] = np.asarray((max(feed["x0"].max(), 0) - min(feed["x0"].min(), 0)) / 255 / 2)
    for i, name in enumerate(case.names):
        params = made.weights.get(("node", i)) or (made.activations.get(name) if i in reading else None)
        if params is None:
            continue
        shape = [1] * (made.graph.type_of(name).rank or 0)
        if params.axis is not None:
            shape[params.axis] = -1
        found[name] = np.asarray(params.scale / 2).reshape(shape if params.scale.ndim else ())
    biased = OPS[case.op].role(2) is Role.BIAS and len(case.names) > 2 and "x2" in made.graph.weights
    if biased and ("node", 1) in made.weights and "x0" in made.activations:
        found["x2"] = np.asarray((made.activations["x0"].scale * made.weights["node", 1].scale).max() / 2)
    return found


def _propagated(case: Case, feed: Feed, steps: Mapping[str, Array]) -> list[Array]:
    """How far half a step of every operand can move the result.

    A product of operands moves most where all are widened away from 0, a monotone operator where all move the same way, and
    a function of slope L by L times the step.
    """
    values = {
        **{
            n: s
            for n, s in zip(case.names, case.slots, strict=True)
            if isinstance(s, np.ndarray) and s.dtype == np.float32
        },
        **feed,
    }

    def at(change: Callable[[Array, Array], Array]) -> list[Array]:
        moved = {
            name: np.asarray(change(v, np.asarray(steps.get(name, 0.0))), np.float32) for name, v in values.items()
        }
        return list(run(case.graph(open_=True), [moved], optimize=False)[0].values())

    here = at(lambda v, _: v)
    if case.op in MULTILINEAR:
        return [a - b for a, b in zip(at(lambda v, d: np.abs(v) + d), at(lambda v, _: np.abs(v)), strict=True)]
    if case.op in MONOTONE:
        up, down = at(lambda v, d: v + d), at(lambda v, d: v - d)
        return [np.maximum(u - h, h - d) for u, h, d in zip(up, here, down, strict=True)]
    step = max(float(np.max(d)) for d in steps.values())
    if case.op == "Softmax":
        return [h * (np.exp(2 * step) - 1) for h in here]
    if case.op == "Sub":
        return [np.full(h.shape, sum(float(np.max(d)) for d in steps.values())) for h in here]
    if case.op == "Div":
        least = np.abs(values[case.names[1]]).min() - np.max(steps.get(case.names[1], 0.0))
        return [
            (np.max(steps.get(case.names[0], 0.0)) + np.abs(h) * np.max(steps.get(case.names[1], 0.0))) / least
            for h in here
        ]
    return [np.full(h.shape, SLOPES[case.op] * step) for h in here]


def _bounds(case: Case, made: Quantized, feeds: list[Feed]) -> list[list[Array]]:
    """Largest error that the formats allow, by feed and output; 2 % of a step is for the order of float additions."""
    own = [float(made.activations[o].scale) * 0.52 if o in made.activations else 1e-5 for o in made.graph.outputs]
    reference = run(made.graph, feeds, optimize=False)
    return [
        [
            1.02 * p + o + 1e-5 * np.abs(r)
            for p, o, r in zip(
                _propagated(case, feed, _half_steps(case, made, feed)), own, result.values(), strict=True
            )
        ]
        for feed, result in zip(feeds, reference, strict=True)
    ]


# --- the oracle --------------------------------------------------------------------------------------------------------

CLAIMS = [
    (target, op)
    for target in TARGETS.values()
    if not target.runtime.simulation
    for op in dict.fromkeys(kernel.op for kernel in target.kernels.integer)
]
CALLS = [
    pytest.param(target, case, id=f"{target.name}, {op} {case.label}") for target, op in CLAIMS for case in _cases(op)
]


def test_every_operator_of_the_table_has_instances() -> None:
    elsewhere = {
        kernel.op for target in TARGETS.values() if target.runtime.simulation for kernel in target.kernels.integer
    }  # see tests/tflite
    elsewhere |= {"GRU", "RNN", ATTENTION}  # see tests/emit, as for LSTM layers
    assert set(CASES) <= set(OPS)
    assert set(OPS) - set(CASES) <= elsewhere, "a row of OPS without instances: add some to CASES"


@pytest.mark.parametrize(("target", "op"), [pytest.param(t, op, id=f"{t.name}, {op}") for t, op in CLAIMS])
def test_a_claimed_operator_has_instances_that_its_limits_allow(target: Target, op: str) -> None:
    plans = [planned(case.graph(), target, EVERYWHERE) for case in _cases(op)]
    assert plans, f"{target.name} claims {op}, and the oracle has no instances of it: add some to CASES"
    assert any(p.nodes["node"].kind is Kind.INTEGER for p in plans), (
        "its limits exclude every instance: add one that it takes"
    )


@pytest.mark.parametrize(("target", "case"), CALLS)
def test_a_claimed_operator_keeps_what_its_formats_promise(target: Target, case: Case, tmp_path: Path) -> None:
    made = _made(case, target)
    if made.plan.nodes["node"].kind is not Kind.INTEGER:
        assert made.plan.nodes["node"].reason is not None
        return
    _assert_accurate(case, made, target)
    if on_onnxruntime(target):
        for form in target.artefact.formats:
            left = float_nodes(optimized(made.emit(form), tmp_path))
            assert not left, f"{target.name} claims {case.op}, but in {form} this runs in float: {left[0]}"


@pytest.mark.parametrize("op", BUILDERS)
def test_a_builder_writes_what_the_qdq_form_computes(op: str) -> None:
    target = replace(X86, kernels=replace(X86.kernels, integer=X86.kernels.of(op) or (Kernel(op),)), weight_forms=())
    for case in _cases(op):
        made = _made(case, target)
        if made.plan.nodes["node"].kind is Kind.INTEGER:
            _assert_accurate(case, made, target)


# LSTM and Attention, in which errors go through several products, have tests of their own in tests/emit.
DYNAMIC = [
    (target, op)
    for target in TARGETS.values()
    for op in dict.fromkeys(k.op for k in target.kernels.dynamic)
    if OPS[op].weighted
]


@pytest.mark.parametrize(("target", "op"), [pytest.param(t, op, id=f"{t.name}, {op}") for t, op in DYNAMIC])
def test_a_dynamic_operator_keeps_what_its_formats_promise(target: Target, op: str, tmp_path: Path) -> None:
    made = [_made(case, target, EVERYWHERE.model_copy(update={"mode": "dynamic"})) for case in _cases(op)]
    chosen = [(case, m) for case, m in zip(_cases(op), made, strict=True) if m.plan.nodes["node"].kind is Kind.DYNAMIC]
    assert chosen
    for case, one in chosen:
        _assert_accurate(case, one, target)
        assert not {"MatMul", "Gemm", "MatMulInteger"} & set(ops(optimized(one.emit(), tmp_path)))


@pytest.mark.parametrize(
    "target", [t for t in TARGETS.values() if any("Gather" in f.ops for f in t.weight_forms)], ids=lambda t: t.name
)
def test_a_lookup_table_is_right_to_half_a_step_of_each_row(target: Target) -> None:
    table = _c(400, 48) * np.linspace(0.1, 5, 400, dtype=np.float32)[:, None]
    made = _made(Case("table", "Gather", (table, np.array([[3, 399, 0], [17, 17, -1]])), {}), target)
    assert made.plan.nodes["node"].kind is Kind.LOOKUP
    rows, step = table[[[3, 399, 0], [17, 17, -1]]], made.weights["node", 0].scale[[[3, 399, 0], [17, 17, -1]]]
    for form in target.artefact.formats:
        for optimize in (True, False):
            got = run(made.emit(form), [{}], optimize)[0]["y0"]
            assert (np.abs(got - rows) <= 0.501 * step[..., None]).all()


def _made(case: Case, target: Target, recipe: Recipe = EVERYWHERE) -> Quantized:
    graph = case.graph()
    return quantized(graph, _feeds(graph, graph.feeds), target, recipe)


def _assert_accurate(case: Case, made: Quantized, target: Target) -> None:
    feeds = _feeds(made.graph, made.graph.feeds)
    wanted, bounds = run(made.graph, feeds, optimize=False), _bounds(case, made, feeds)
    for form in target.artefact.formats:
        emitted = made.emit(form)
        for optimize in (True, False):
            _assert_within(f"{form}, {optimize=}", wanted, run(emitted, feeds, optimize), bounds)
    if "qoperator" in target.artefact.formats:
        _assert_forms_agree(case, made, feeds)


def _assert_within(
    label: str, wanted: list[dict[str, Array]], got: list[dict[str, Array]], bounds: list[list[Array]]
) -> None:
    for expected, found, limit in zip(wanted, got, bounds, strict=True):
        for name, bound in zip(expected, limit, strict=True):
            excess = (np.abs(found[name] - expected[name]) / bound).max()
            assert excess <= 1, f"{label}: error of {name} is {excess:.2f} times what the formats allow"


def _assert_forms_agree(case: Case, made: Quantized, feeds: list[Feed]) -> None:
    for a, b in zip(run(made.emit("qdq"), feeds), run(made.emit("qoperator"), feeds), strict=True):
        for name in a:
            step = float(made.activations[name].scale) if name in made.activations else 1e-4
            assert np.abs(a[name] - b[name]).max() <= 1.001 * step, f"{case.op} {case.label}: forms differ at {name}"
