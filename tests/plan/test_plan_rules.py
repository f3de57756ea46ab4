"""Kinds, reasons, rules, ties and absorbed clamps of small models."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
from quantize_support import EVERYWHERE, TARGETS, X86, planned, random, text_model

from qconvert.errors import CODES, QConvertError
from qconvert.graph import Graph, Node, weight
from qconvert.plan import Kind, Plan, plan
from qconvert.plan.limits import LIMITS, Call, first_broken
from qconvert.recipe.types import Change
from qconvert.runtime import concrete_shapes
from qconvert.targets import Kernel, Limit


def kinds(made: Plan) -> dict[str, str]:
    return {name.removeprefix("n_"): str(node.kind) for name, node in made.nodes.items()}


def code(made: Plan, name: str) -> str:
    reason = made.nodes[name].reason
    assert reason is not None
    return reason.code


W = {"w": random(4, 4, 1, 1)}
CHAIN = "(float[1,4,6,6] x) => (float[1,4,6,6] z) { a = Conv (x, w) b = Conv (a, w) c = Tanh (b) z = Conv (c, w) }"

# --- reasons -----------------------------------------------------------------------------------------------------------

REASONS: dict[str, tuple[str, str, Mapping[str, object]]] = {
    "P001": ("(float[2,8] x) => (float[2,8] y) { y = Erf (x) }", "n_y", {}),
    "P002": ("(float[1,2,3,4,5] x) => (float[1,2,4,3,5] y) { y = Transpose <perm=[0,1,3,2,4]> (x) }", "n_y", {}),
    "P004": (
        "(float[1,4,6,6] x) => (float[1,4,6,6] y) { y = Conv (x, w) }",
        "n_y",
        {"nodes": {"n_y": {"keep": "float"}}},
    ),
    "P005": ("(int64[2,3] x) => (int64[6] y) { y = Reshape (x, shape) }", "n_y", {}),
    "P008": ("(float[1,4,6,6] x, float[4,4,1,1] v) => (float[1,4,6,6] y) { y = Conv (x, v) }", "n_y", {}),
}


@pytest.mark.parametrize("wanted", REASONS)
def test_every_float_node_says_why(wanted: str) -> None:
    text, name, rules = REASONS[wanted]
    graph = text_model(text, shape=np.array([-1], np.int64), **W)
    assert code(planned(graph, **rules), name) == wanted  # type: ignore[arg-type]


def test_a_lone_cheap_operator_is_not_worth_its_conversions() -> None:
    graph = text_model("(float[1,4,6,6] x, float[1,4,6,6] y) => (float[1,4,6,6] z) { z = Add (x, y) }")
    assert code(planned(graph, recipe=EVERYWHERE.model_copy(update={"placement": "profit"})), "n_z") == "P003"


def test_a_body_stays_float() -> None:
    body = text_model("(float[2] p) => (float[2] q) { q = Sigmoid (p) }").with_(inputs=(), name="body")
    base = text_model("(bool c, float[2] p) => (float[2] y) { y = Relu (p) }")
    node = Node("If", ("c",), ("y",), {"then_branch": body, "else_branch": body}, "n_if")
    assert code(planned(base.with_(nodes=(node,))), "n_if") == "P006"


def test_half_precision_is_not_quantized() -> None:
    graph = text_model("(float16[1,4,6,6] x) => (float16[1,4,6,6] y) { y = Sigmoid (x) }")
    assert code(planned(graph), "n_y") == "P005"


def test_every_reason_is_a_documented_code() -> None:
    graph = text_model(CHAIN, **W)
    for target in TARGETS.values():
        for node in planned(graph, target).nodes.values():
            assert (node.reason is None) == (node.kind is not Kind.FLOAT)
            assert node.reason is None or node.reason.code in CODES


@pytest.mark.parametrize("bias", ["fed", "a column", "a matrix"])
def test_an_integer_layer_adds_only_a_constant_row(bias: str) -> None:
    shape = {"a column": (3, 1), "a matrix": (3, 8), "fed": (8,)}[bias]
    fed = f", float[{','.join(map(str, shape))}] b" if bias == "fed" else ""
    weights = {"w": random(4, 8)} | ({} if fed else {"b": random(*shape)})
    graph = text_model(f"(float[3,4] x{fed}) => (float[3,8] y) {{ y = Gemm (x, w, b) }}", **weights)
    assert code(planned(graph), "n_y") == "P002"


# --- limits ------------------------------------------------------------------------------------------------------------


def call(
    op: str,
    shapes: Mapping[str, tuple[int, ...]],
    weights: tuple[str, ...] = (),
    outputs: int = 1,
    **attributes: object,
) -> Call:
    """A call whose inputs are the names in `shapes`, in order; the last `outputs` of them are its outputs."""
    names = tuple(shapes)
    node = Node(op, names[:-outputs], names[-outputs:], attributes, op)
    graph = Graph(
        (node,),
        tuple(n for n in names[:-outputs] if n not in weights),
        node.outputs,
        {n: weight(np.ones(shapes[n], np.float32)) for n in weights},
        {},
    )
    return Call(node, graph, shapes)


def holding(base: Call, **arrays: np.ndarray) -> Call:
    """The same call with the given contents of its constants."""
    weights = {**base.graph.weights, **{name: weight(array) for name, array in arrays.items()}}
    return Call(base.node, base.graph.with_(weights=weights), base.shapes)


def recurrent(options: str) -> Call:
    graph = text_model(
        f"(float[4,1,3] x) => (float[4,1,1,2] y) {{ y = LSTM <hidden_size=2{options}> (x, w, r) }}",
        w=random(1, 8, 3),
        r=random(1, 8, 2),
    )
    return Call(graph.nodes[0], graph, {})


POW = call("Pow", {"x": (3,), "e": (1,), "y": (3,)}, ("e",))
SLICE = call("Slice", {"x": (4,), "s": (1,), "f": (1,), "a": (1,), "t": (1,), "y": (2,)}, ("s", "f", "a", "t"))
WHOLE = call("Slice", {"x": (4,), "s": (1,), "f": (1,), "a": (1,), "t": (1,), "y": (4,)}, ("s", "f", "a", "t"))
PAD = {"x": (4,), "pads": (2,), "y": (6,)}
UP = {"x": (1, 2, 4, 4), "y": (1, 2, 8, 8)}
BACK = {"x": (1, 2, 3, 3), "w": (2, 3, 2, 2)}

FUSED = {"x": (1, 4, 6), "w": (6, 12), "b": (12,), "y": (1, 4, 4)}
LIMIT_CASES: dict[str, tuple[object, Call, Call]] = {  # parameter, a call that holds it, one that does not
    "rank": ((3, 4), call("Conv", {"x": (1, 4, 6, 6), "y": (1, 4, 6, 6)}), call("Conv", {"x": (1, 4, 6, 6, 6), "y": (1, 4, 6, 6, 6)})),
    "max-rank": (4, call("Transpose", {"x": (1, 2, 3), "y": (3, 2, 1)}), call("Transpose", {"x": (1,) * 5, "y": (1,) * 5})),
    "weight-constant": (0, call("MatMul", {"x": (2, 4), "w": (4, 4), "y": (2, 4)}, ("w",)), call("MatMul", {"x": (2, 4), "w": (4, 4), "y": (2, 4)})),
    "weight-rank": (2, call("MatMul", {"x": (2, 4), "w": (4, 4), "y": (2, 4)}, ("w",)), call("MatMul", {"x": (2, 4), "w": (3, 4, 4), "y": (3, 2, 4)}, ("w",))),
    "weight-matrix": (0, call("MatMul", {"x": (2, 4), "w": (4, 4), "y": (2, 4)}, ("w",)), call("MatMul", {"x": (2, 4), "w": (4,), "y": (2,)}, ("w",))),
    "plain-attention": (0, call("Attention", FUSED, ("w", "b")), call("Attention", FUSED, ("w", "b"), do_rotary=1)),
    "attribute": ("alpha=1", call("Gemm", {"x": (2, 4), "y": (2, 4)}, alpha=1.0), call("Gemm", {"x": (2, 4), "y": (2, 4)}, alpha=0.5)),
    "mode": ("nearest", call("Resize", {"x": (1, 4), "y": (1, 8)}), call("Resize", {"x": (1, 4), "y": (1, 8)}, mode="linear")),
    "static-params": (0, call("Slice", {"x": (4,), "starts": (1,), "y": (2,)}, ("starts",)), call("Slice", {"x": (4,), "starts": (1,), "y": (2,)})),
    "group-channels": (16, call("Conv", {"x": (1, 32, 6, 6), "w": (32, 16, 1, 1), "y": (1, 32, 6, 6)}, group=2), call("Conv", {"x": (1, 32, 6, 6), "w": (32, 8, 1, 1), "y": (1, 32, 6, 6)}, group=4)),
    "not-attention": (0, call("MatMul", {"x": (2, 4), "w": (4, 4), "y": (2, 4)}, ("w",)), call("MatMul", {"x": (2, 4), "w": (4, 4), "y": (2, 4)})),
    "two-inputs": (0, call("Concat", {"a": (1, 4), "b": (1, 4), "y": (1, 8)}), call("Concat", {"a": (1, 4), "y": (1, 4)})),
    "max-inputs": (2, call("Concat", {"a": (1, 4), "b": (1, 4), "y": (1, 8)}), call("Concat", {"a": (1, 4), "b": (1, 4), "c": (1, 4), "y": (1, 12)})),
    "one-output": (0, call("MaxPool", {"x": (1, 4, 6, 6), "y": (1, 4, 3, 3)}), call("MaxPool", {"x": (1, 4, 6, 6), "y": (1, 4, 3, 3), "i": (1, 4, 3, 3)}, outputs=2)),
    "bias-vector": (0, call("Gemm", {"x": (2, 4), "w": (4, 3), "b": (3,), "y": (2, 3)}, ("w", "b")), call("Gemm", {"x": (2, 4), "w": (4, 3), "b": (1, 3), "y": (2, 3)}, ("w", "b"))),
    "zero-pad": (0, call("Pad", {"x": (4,), "pads": (2,), "y": (6,)}, ("pads",)), call("Pad", {"x": (4,), "pads": (2,), "value": (1,), "y": (6,)}, ("pads", "value"))),
    "tensor-core-matmul": (16, call("MatMul", {"x": (8, 32), "w": (32, 32), "y": (8, 32)}, ("w",)), call("MatMul", {"x": (8, 32), "w": (32, 8), "y": (8, 8)}, ("w",))),
    "tensor-core-conv": (16, call("Conv", {"x": (1, 32, 6, 6), "w": (32, 32, 3, 3), "y": (1, 32, 4, 4)}, ("w",)), call("Conv", {"x": (1, 4, 6, 6), "w": (5, 4, 3, 3), "y": (1, 5, 4, 4)}, ("w",))),
    "float8-conv": (16, call("Conv", {"x": (1, 32, 6, 6), "w": (32, 32, 3, 3), "y": (1, 32, 4, 4)}, ("w",)), call("Conv", {"x": (1, 32, 6, 6), "w": (32, 32, 7, 7), "y": (1, 32, 1, 1)}, ("w",))),
    "broadcast-rank": (5, call("Add", {"x": (1, 4), "z": (4,), "y": (1, 4)}), call("Add", {"x": (1,) * 6, "z": (1,), "y": (1,) * 6})),
    "not-dilated": (0, call("MaxPool", {"x": (1, 4, 6, 6), "y": (1, 4, 4, 4)}), call("MaxPool", {"x": (1, 4, 6, 6), "y": (1, 4, 2, 2)}, dilations=(2, 2))),
    "plain-transpose": (0, call("ConvTranspose", {**BACK, "y": (1, 3, 6, 6)}, strides=(2, 2)), call("ConvTranspose", {**BACK, "y": (1, 3, 7, 7)}, strides=(2, 2), output_padding=(1, 1))),
    "matrix": (0, call("MatMul", {"x": (1, 2, 4), "w": (4, 4), "y": (1, 2, 4)}, ("w",)), call("MatMul", {"w": (4, 4), "x": (4, 2), "y": (4, 2)}, ("w",))),
    "exponent": (0, holding(POW, e=np.array([2.0], np.float32)), POW),
    "forward-slice": (0, SLICE, holding(SLICE, t=np.array([-1]))),
    "indices": (0, call("Gather", {"x": (4,), "i": (1,), "y": (1,)}, ("i",)), call("Gather", {"x": (4,), "i": (1,), "y": (1,)})),
    "fused-lstm": (0, recurrent(""), recurrent(", clip=2.0")),
    "pad-mode": (0, call("Pad", PAD, ("pads",), mode="reflect"), call("Pad", PAD, ("pads",), mode="edge")),
    "explicit-pads": (0, call("Conv", {"x": (1, 4), "y": (1, 4)}), call("ConvTranspose", {"x": (1, 4), "y": (1, 4)}, output_shape=(9, 9))),
    "resize-kernel": (0, call("Resize", UP, mode="linear"), call("Resize", UP, mode="cubic")),
}  # fmt: skip


def test_every_limit_has_a_case() -> None:
    assert set(LIMIT_CASES) == set(LIMITS)


def test_a_whole_axis_may_be_read_backward() -> None:
    assert first_broken((Limit("forward-slice"),), holding(WHOLE, t=np.array([-1]))) is None


@pytest.mark.parametrize("name", LIMIT_CASES)
def test_a_limit_lets_pass_what_holds_it_and_names_what_does_not(name: str) -> None:
    value, good, bad = LIMIT_CASES[name]
    limit = Limit(name, value)  # type: ignore[arg-type]
    assert first_broken((limit,), good) is None
    reason = first_broken((limit,), bad)
    assert reason is not None
    assert reason.code in CODES


@pytest.mark.parametrize(
    ("name", "code"), [("rank", "P002"), ("weight-constant", "P008"), ("tensor-core-conv", "P011")]
)
def test_a_limit_has_the_code_of_its_row(name: str, code: str) -> None:
    value, _, bad = LIMIT_CASES[name]
    reason = first_broken((Limit(name, value),), bad)  # type: ignore[arg-type]
    assert reason is not None
    assert reason.code == code


def test_targets_name_known_limits_only() -> None:
    for target in TARGETS.values():
        narrow = target.floats.float8.kernels if target.floats.float8 is not None else ()
        rows = (*target.kernels.integer, *target.kernels.dynamic, *narrow, *target.weight_forms)
        assert {limit.name for row in rows for limit in row.limits} <= set(LIMITS)


# --- rules -------------------------------------------------------------------------------------------------------------


def test_integers_by_rule_where_they_do_not_pay() -> None:
    graph = text_model("(float[1,4,6,6] x, float[1,4,6,6] y) => (float[1,4,6,6] z) { z = Add (x, y) }")
    recipe = EVERYWHERE.model_copy(update={"placement": "profit"})
    made = planned(graph, recipe=recipe, nodes={"n_z": {"keep": "integer"}})
    assert kinds(made) == {"z": "integer"}
    assert set(made.tensors) == {"x", "y", "z"}


def test_integers_by_rule_without_a_kernel_are_refused() -> None:
    graph = text_model(CHAIN, **W)
    with pytest.raises(QConvertError) as caught:
        planned(graph, nodes={"n_c": {"keep": "integer"}})
    assert (caught.value.diagnostics[0].code, caught.value.diagnostics[0].where) == ("R009", "n_c")


def test_a_float_rule_takes_only_its_node() -> None:
    made = planned(text_model(CHAIN, **W), nodes={"n_b": {"keep": "float"}})
    assert kinds(made) == {"a": "integer", "b": "float", "c": "float", "z": "integer"}
    assert set(made.tensors) == {"x", "a", "c", "z"}


def test_a_mode_of_one_node() -> None:
    graph = text_model("(float[2,8] x) => (float[2,8] z) { a = MatMul (x, w) z = MatMul (a, w) }", w=random(8, 8))
    assert kinds(planned(graph, nodes={"n_a": {"mode": "dynamic"}})) == {"a": "dynamic", "z": "integer"}
    dynamic = EVERYWHERE.model_copy(update={"mode": "dynamic"})
    assert kinds(planned(graph, recipe=dynamic, nodes={"n_a": {"mode": "static"}})) == {"a": "integer", "z": "dynamic"}


def test_formats_by_rule() -> None:
    graph = text_model(CHAIN, **W)
    made = planned(
        graph,
        nodes={"n_a": {"granularity": "per-tensor"}},
        tensors={"a": {"bits": 16}, "c": {"symmetric": True, "method": "entropy"}},
    )
    assert (made.weights["n_a", 1].axis, made.weights["n_b", 1].axis) == (None, 0)
    assert (made.tensors["a"].format.bits, made.tensors["x"].format.bits) == (16, 8)
    assert made.tensors["c"].format.symmetric
    assert (made.tensors["c"].method, made.tensors["a"].method) == ("entropy", "")
    assert (made.opset, planned(graph).opset) == (21, 13)


def test_16_bits_where_the_target_has_none() -> None:
    graph = text_model("(float[1,16,6,6] x) => (float[1,16,6,6] z) { z = Conv (x, w) }", w=random(16, 16, 1, 1))
    with pytest.raises(QConvertError, match="R009"):
        planned(graph, TARGETS["tensorrt"], tensors={"x": {"bits": 16}})


# --- groups ------------------------------------------------------------------------------------------------------------


def groups(made: Plan) -> list[set[str]]:
    found: dict[int, set[str]] = {}
    for name, tensor in made.tensors.items():
        found.setdefault(tensor.group, set()).add(name)
    return sorted(found.values(), key=sorted)


def test_operators_that_move_values_tie_their_ends() -> None:
    graph = text_model(
        """(float[1,4,6,6] x) => (float[1,36,4] t, float[1,2,6,6] q) {
        a = Conv (x, w) m = MaxPool <kernel_shape=[1,1]> (a) r = Reshape (m, shape) t = Transpose <perm=[0,2,1]> (r)
        p, q = Split <axis=1> (m) }""",
        shape=np.array([1, 4, 36], np.int64), **W,
    )  # fmt: skip
    made = planned(graph)
    assert groups(made) == [{"a", "m", "r", "t", "p", "q"}, {"x"}]
    assert made.taps == ("x", "a")


def test_joins_have_their_own_scale_unless_the_target_joins_them() -> None:
    graph = text_model("(float[1,4,6,6] x) => (float[1,8,6,6] y) { a = Conv (x, w) y = Concat <axis=1> (a, x) }", **W)
    assert groups(planned(graph)) == [{"a"}, {"x"}, {"y"}]
    tied = planned(graph, replace(X86, placement=replace(X86.placement, join_concat=True)))
    assert groups(tied) == [{"a", "y"}, {"x"}]  # the convolution reads `x` too, so it keeps its own


def test_a_float_node_ends_a_group() -> None:
    graph = text_model(
        "(float[1,4,6,6] x) => (float[1,4,36] y) { a = Conv (x, w) y = Reshape (a, shape) }",
        shape=np.array([1, 4, 36], np.int64),
        **W,
    )
    made = planned(graph, nodes={"n_y": {"keep": "float"}})
    assert groups(made) == [{"a"}, {"x"}]


def test_a_rule_for_one_member_holds_for_its_group() -> None:
    graph = text_model(
        "(float[1,4,6,6] x) => (float[1,4,36] y) { a = Conv (x, w) y = Reshape (a, shape) }",
        shape=np.array([1, 4, 36], np.int64),
        **W,
    )
    made = planned(graph, tensors={"y": {"symmetric": True}})
    assert made.tensors["a"].format == made.tensors["y"].format
    assert made.tensors["a"].format.symmetric


# --- clamps ------------------------------------------------------------------------------------------------------------

CLAMP = "(float[1,4,6,6] x) => (float[1,4,6,6] z{more}) {{ a = {host} {clamp} {rest} }}"
RELU, CLIP = "r = Relu (a)", "r = Clip (a, low, high)"


def clamped(
    clamp: str = RELU,
    *,
    rest: str = "z = Conv (r, w)",
    more: str = "",
    host: str = "Conv (x, w)",
    low: float = 0.0,
    high: float = 6.0,
) -> Plan:
    bounds = {"low": np.array(low, np.float32), "high": np.array(high, np.float32)}
    return planned(text_model(CLAMP.format(clamp=clamp, rest=rest, more=more, host=host), **W, **bounds))


@pytest.mark.parametrize(("low", "high"), [(0, 6), (-1, 1), (0, 0.5), (-3, 0)])
def test_a_clamp_around_zero_is_absorbed(low: float, high: float) -> None:
    made = clamped(CLIP, low=low, high=high)
    assert made.nodes["n_r"].kind is Kind.ABSORBED
    assert made.nodes["n_r"].host == "n_a"
    assert made.tensors["r"].bounds == (low, high)
    assert "a" not in made.tensors


@pytest.mark.parametrize(("low", "high"), [(1, 6), (-6, -1)])
def test_a_clamp_beside_zero_is_not_absorbed(low: float, high: float) -> None:
    """Codes always represent zero, so they cannot saturate there."""
    assert clamped(CLIP, low=low, high=high).nodes["n_r"].kind is Kind.FLOAT


@pytest.mark.parametrize("host", ["Add (x, x)", "Mul (x, x)", "GlobalAveragePool (x)", "LeakyRelu (x)"])
def test_other_kernels_absorb_too(host: str) -> None:
    assert clamped(host=host).nodes["n_r"].kind is Kind.ABSORBED


@pytest.mark.parametrize(
    ("what", "changes"),
    [
        ("two readers", {"rest": "y = Tanh (a) z = Add (r, y)"}),
        ("a graph output in the middle", {"more": ", float[1,4,6,6] a"}),
        ("a float producer", {"host": "Tanh (x)"}),
        ("a producer that only moves values", {"host": "MaxPool <kernel_shape=[1,1]> (x)"}),
        ("bounds that are fed", {"clamp": "m = ReduceMax <keepdims=0> (x) r = Clip (a, low, m)"}),
    ],
)
def test_a_clamp_stays_behind(what: str, changes: dict[str, str]) -> None:
    assert clamped(**changes).nodes["n_r"].kind is Kind.FLOAT, what  # type: ignore[arg-type]


def test_a_clamp_behind_a_layer_that_a_rule_keeps_float() -> None:
    graph = text_model(CLAMP.format(clamp=RELU, rest="z = Conv (r, w)", more="", host="Conv (x, w)"), **W)
    assert kinds(planned(graph, nodes={"n_a": {"keep": "float"}})) == {"a": "float", "r": "float", "z": "integer"}


def test_a_kernel_that_writes_float_absorbs_nothing() -> None:
    target = replace(X86, kernels=replace(X86.kernels, integer=(Kernel("Conv", "raw"),)))
    graph = text_model(CLAMP.format(clamp=RELU, rest="z = Conv (r, w)", more="", host="Conv (x, w)"), **W)
    made = planned(graph, target)
    assert made.nodes["n_r"].kind is Kind.FLOAT
    assert set(made.tensors) == {"x", "r"}


def test_rules_for_tensors_reach_the_nodes_around_them():
    graph = text_model(
        "(float[1,16,8,8] x) => (float[1,16,8,8] y) { a = Conv(x, w) y = Conv(a, v) }",
        w=random(16, 16, 1, 1),
        v=random(16, 16, 1, 1, seed=1),
    )
    rules = {"a": Change(keep="float"), "v": Change(granularity="per-tensor")}
    found = plan(graph, X86, EVERYWHERE, concrete_shapes(graph, {}), None, rules)
    assert found.nodes["n_a"].reason.code == "P004"
    assert found.weights["n_y", 1].axis is None


def test_seven_bits_only_where_sums_can_saturate() -> None:
    """Neighbouring weights of opposite signs cancel in the 16-bit sum; two large ones of the same sign do not."""
    calm = np.tile(np.array([1.0, -1.0], np.float32), 8).reshape(1, 16, 1, 1).repeat(16, axis=0)
    text = "(float[1,16,8,8] x) => (float[1,16,8,8] y) { y = Conv(x, w) }"
    recipe = EVERYWHERE.model_copy(update={"reduce_range": True})
    bits = [
        plan(graph, X86, recipe, concrete_shapes(graph, {})).weights["n_y", 1].format.bits
        for graph in (text_model(text, w=calm), text_model(text, w=np.abs(calm)))
    ]
    assert bits == [8, 7]
