"""Rewrites that run only where a target asks for them."""

from typing import Any

import numpy as np
import pytest
from canonicalize_support import check, lines, model, ops, random, reasons

from qconvert.canonicalize import canonicalize
from qconvert.graph import Array


def conv(out: int, into: int, size: int = 1, seed: int = 7) -> Array:
    return random(out, into, size, size, seed=seed)


@pytest.mark.parametrize("bias", [random(8), np.float32([0.5]), np.float32(0.5), random(1, 8)])
def test_matmul_add_to_gemm(bias: Array) -> None:
    graph = model(
        "(float[N,4] x) => (float[N,8] y) { [m] a = MatMul(x, w) [b] y = Add(k, a) }",
        weights={"w": random(4, 8), "k": bias},
    )
    assert ops(check(graph)) == ["MatMul", "Add"]
    result = check(graph, ["matmul-add-to-gemm"])
    assert [str(n) for n in result.graph.nodes] == ["y = Gemm(x, w, k)"]
    assert lines(result, "matmul-add-to-gemm") == ("MatMul `m` + Add `b` -> Gemm `m`",)


@pytest.mark.parametrize(
    "text",
    [
        "(float[2,3,4] x) => (float[2,3,8] y) { [m] a = MatMul(x, w) [b] y = Add(a, k) }",
        "(float[2,4] x) => (float[2,8] y, float[2,8] a) { [m] a = MatMul(x, w) [b] y = Add(a, k) }",
        "(float[3,4] x) => (float[3,8] y) { [m] a = MatMul(x, w) [b] y = Add(a, full) }",
    ],
)
def test_matmul_add_that_is_no_gemm(text: str) -> None:
    result = check(
        model(text, weights={"w": random(4, 8), "k": random(8), "full": random(3, 8)}), ["matmul-add-to-gemm"]
    )
    assert ops(result) == ["MatMul", "Add"]


@pytest.mark.parametrize(
    "attributes", ["", ", strides=[2,2]", ", pads=[1,0,1,1], count_include_pad=1", ', auto_pad="VALID"']
)
def test_average_pool_to_conv(attributes: str) -> None:
    graph = model(
        f"(float[2,6,8,8] x) => (float[N,C,H,W] y) {{ [p] y = AveragePool<kernel_shape=[3,2]{attributes}>(x) }}"
    )
    result = check(graph, ["average-pool-to-conv"])
    assert (ops(result), result.graph.nodes[0].attr("group")) == (["Conv"], 6)
    assert lines(result, "average-pool-to-conv") == ("AveragePool `p` -> depthwise Conv `p`",)


@pytest.mark.parametrize(
    ("shape", "attributes", "reason"),
    [
        ("2,6,8,8", "kernel_shape=[3,3], pads=[1,1,1,1]", "windows at the border leave out the padding"),
        ("2,6,8,8", "kernel_shape=[3,3], ceil_mode=1, strides=[2,2]", "ceil_mode lets the last windows be smaller"),
        ("2,C,8,8", "kernel_shape=[3,3]", "it is not two-dimensional with a known number of channels"),
        ("2,6,8", "kernel_shape=[3]", "it is not two-dimensional with a known number of channels"),
    ],
)
def test_average_pool_that_stays(shape: str, attributes: str, reason: str) -> None:
    out = "N,D,H,W"[: len(shape.split(",")) * 2 - 1]
    result = check(
        model(f"(float[{shape}] x) => (float[{out}] y) {{ [p] y = AveragePool<{attributes}>(x) }}"),
        ["average-pool-to-conv"],
    )
    assert reasons(result) == [f"p: AveragePool is left as it is: it cannot become a Conv: {reason}"]


SWISH = {
    "op": "[h] s = HardSwish(a)",
    "hard sigmoid": "[g] g = HardSigmoid<alpha=0.16666667, beta=0.5>(a) [h] s = Mul(a, g)",
    "parts, division last": "[i] i = Add(a, three) [c] c = Clip(i, zero, six) [m] m = Mul(a, c) [h] s = Div(m, six)",
    "parts, division first": "[i] i = Add(a, three) [c] c = Clip(i, zero, six) [m] m = Div(c, six) [h] s = Mul(a, m)",
    "parts, factor": "[i] i = Add(a, three) [c] c = Clip(i, zero, six) [m] m = Mul(a, c) [h] s = Mul(m, sixth)",
}
NUMBERS = {"three": np.float32(3), "zero": np.float32(0), "six": np.float32(6), "sixth": np.float32(1 / 6)}
USERS = {
    "Conv": "[l] y = Conv(s, v, b)",
    "Pool, Conv": "[p] q = GlobalAveragePool(s) [l] y = Conv(q, v, b)",
    "Pad, Conv": "[p] q = MaxPool<kernel_shape=[2,2]>(s) [l] y = Conv<pads=[1,1,1,1]>(q, v)",
    "Reshape, Gemm": "[p] q = GlobalAveragePool(s) [f] r = Flatten(q) [l] t = Gemm(r, u, b) [e] y = Unsqueeze(t, axes)",
    "MatMul": "[p] q = Transpose<perm=[0,2,3,1]>(s) [l] y = MatMul(q, u)",
    "two": "[l] t = Conv(s, v, b) [k] r = Conv(s, v) [j] y = Add(t, r)",
}


@pytest.mark.parametrize("swish", SWISH)
@pytest.mark.parametrize("user", USERS)
def test_hard_swish_leaves_its_factor_to_the_next_layers(swish: str, user: str) -> None:
    weights = {"w": conv(6, 4), "v": conv(8, 6), "u": random(6, 8), "b": random(8), "axes": np.int64([2, 3]), **NUMBERS}
    result = check(
        model(
            f"(float[2,4,5,5] x) => (float[N,C,H,W] y) {{ [a] a = Conv(x, w) {SWISH[swish]} {USERS[user]} }}",
            weights=weights,
        ),
        ["hard-swish"],
    )
    assert not {"HardSwish", "HardSigmoid", "Div"} & set(ops(result))
    assert ops(result).count("Mul") == 1
    assert len(lines(result, "hard-swish")) == 1


@pytest.mark.parametrize("swish", ["op", "hard sigmoid"])
@pytest.mark.parametrize(
    "user",
    [
        "[l] y = Add(s, x)",
        "[l] r = Conv(s, v) [k] y = Tanh(s)",
        "[p] q = Mul(s, s) [l] y = Conv(q, v)",
        "[p] q = GlobalAveragePool(s) [m] r = Mul(s, q) [l] y = Conv(r, v)",
    ],
)
def test_hard_swish_keeps_a_mul_where_nobody_takes_the_factor(swish: str, user: str) -> None:
    weights = {"w": conv(4, 4), "v": conv(8, 4)}
    result = check(
        model(
            f"(float[2,4,5,5] x) => (float[N,C,H,W] y) {{ [a] a = Conv(x, w) {SWISH[swish]} {user} }}", weights=weights
        ),
        ["hard-swish"],
    )
    assert not {"HardSwish", "HardSigmoid"} & set(ops(result))
    assert "factor 1/6 in a Mul" in lines(result, "hard-swish")[0]


def test_hard_swish_as_graph_output() -> None:
    result = check(model("(float[2,4] x) => (float[2,4] y) { [h] y = HardSwish(x) }"), ["hard-swish"])
    assert ops(result) == ["Add", "Clip", "Mul", "Mul"]
    assert lines(result, "hard-swish") == (
        "HardSwish `h` -> Add, Clip, Mul; factor 1/6 in a Mul, as `y` is a graph output",
    )


def test_hard_sigmoid_alone_stays() -> None:
    result = check(model("(float[2,4] x) => (float[2,4] y) { [h] y = HardSigmoid(x) }"), ["hard-swish"])
    assert reasons(result) == [
        "h: HardSigmoid is left as it is: its factor 0.2 has no place to go: `y` is a graph output"
    ]


def test_squeeze_and_excite_block() -> None:
    text = """(float[2,8,5,5] x) => (float[2,8,5,5] y) {
        [a] a = Conv(x, w) [h] s = HardSwish(a) [p] p = GlobalAveragePool(s) [c] c = Conv(p, d) [r] r = Relu(c) [e] e = Conv(r, u, b)
        [g] g = HardSigmoid<alpha=0.25, beta=0.4>(e) [m] m = Mul(s, g) [k] k = Conv(m, w) [y] y = Add(k, x)
    }"""
    result = check(
        model(text, weights={"w": conv(8, 8), "d": conv(2, 8), "u": conv(8, 2), "b": random(8)}), ["hard-swish"]
    )
    assert ops(result).count("Mul") == 2
    assert lines(result, "hard-swish") == (
        "HardSwish `h` -> Add, Clip, Mul; factor 0.166667 in Conv `c`, Conv `k`",
        "HardSigmoid `g` -> Add, Clip; factor 0.25 in Conv `k`",
    )


def test_stem_channels() -> None:
    graph = model(
        "(float[2,3,8,8] x) => (float[N,C,H,W] y) { [a] a = Conv<strides=[2,2], pads=[1,1,1,1]>(x, w, b) [r] r = Relu(a) [k] y = Conv(r, v) }",
        weights={"w": conv(8, 3, 3), "b": random(8), "v": conv(3, 8)},
    )
    result = check(graph, ["stem-channels"])
    assert ops(result) == ["Pad", "Conv", "Relu", "Conv"]
    assert result.graph.weights["w"].shape == (8, 4, 3, 3)
    assert result.graph.type_of(result.graph.nodes[0].output).shape == (2, 4, 8, 8)


@pytest.mark.parametrize("into", [1, 4])
def test_other_stems_stay(into: int) -> None:
    graph = model(
        f"(float[2,{into},8,8] x) => (float[N,C,H,W] y) {{ [a] y = Conv(x, w) }}", weights={"w": conv(8, into, 3)}
    )
    assert ops(check(graph, ["stem-channels"])) == ["Conv"]


def test_a_stem_behind_a_transpose_and_a_weight_of_two_stems() -> None:
    text = "(float[2,8,8,3] x, float[2,3,8,8] z) => (float[N,C,H,W] y, float[A,B,D,E] q) { [t] t = Transpose<perm=[0,3,1,2]>(x) [a] y = Conv(t, w) [b] q = Conv(z, w) }"
    result = check(model(text, weights={"w": conv(8, 3, 3)}), ["stem-channels"])
    assert ops(result).count("Pad") == 2


INVERTED = """(float[2,8,6,6] x) => (float[2,8,N,M] y) {{
    [a] a = Conv(x, w, b) [r] r = {first} [d] d = Conv<group={c}, pads=[1,1,1,1]>(r, v, b) [s] s = {second} [p] y = Conv(s, u) {more}
}}"""


def inverted(
    channels: int, first: str = "Relu(a)", second: str = "Clip(d, zero, six)", more: str = ""
) -> tuple[str, dict[str, Any]]:
    weights = {
        "w": conv(channels, 8),
        "b": random(channels),
        "v": conv(channels, 1, 3),
        "u": conv(8, channels),
        **NUMBERS,
    }
    return INVERTED.format(first=first, second=second, c=channels, more=more), weights


@pytest.mark.parametrize(("channels", "padded"), [(30, 32), (120, 128), (43, 48)])
@pytest.mark.parametrize("second", ["Clip(d, zero, six)", "HardSwish(d)", "MaxPool<kernel_shape=[2,2]>(d)"])
def test_depthwise_channels(channels: int, padded: int, second: str) -> None:
    text, weights = inverted(channels, second=second)
    result = check(model(text, weights=weights), ["depthwise-channels"])
    shapes = {name: tuple(result.graph.weights[name].shape) for name in ("w", "v", "u")}
    assert shapes == {"w": (padded, 8, 1, 1), "v": (padded, 1, 3, 3), "u": (8, padded, 1, 1)}
    assert result.graph.by_name["d"].attr("group") == padded
    assert {result.graph.type_of(name).shape[1] for name in ("a", "r", "d", "s")} == {padded}
    assert lines(result, "depthwise-channels") == (f"Conv `d`: {channels} channels -> {padded}",)


def test_depthwise_channels_through_sigmoid_times_value() -> None:
    text, weights = inverted(30, first="Sigmoid(a) [t] t = Mul(a, r)")
    result = check(model(text.replace("(r, v", "(t, v"), weights=weights), ["depthwise-channels"])
    assert result.graph.by_name["d"].attr("group") == 32


@pytest.mark.parametrize(
    ("channels", "arguments", "reason"),
    [
        (20, {}, "60% more channels would be wasted"),
        (30, {"second": "Add(d, a)"}, "Add `s` reads the channels too"),
        (30, {"second": "Mul(d, row)"}, "Mul `s` meets channels from elsewhere"),
    ],
)
def test_depthwise_channels_that_stay(channels: int, arguments: dict[str, str], reason: str) -> None:
    text, weights = inverted(channels, **arguments)
    weights["row"] = random(channels, 1, 1)
    if "row" in text:
        text = text.replace("pads=[1,1,1,1]>(r, v, b) [s]", "pads=[1,1,1,1]>(r, v, b) [z] z = Relu(d) [s]").replace(
            "Mul(d, row)", "Mul(z, row)"
        )
    result = check(model(text, weights=weights), ["depthwise-channels"])
    wanted = -(-channels // 16) * 16
    assert reasons(result) == [f"d: Conv is left as it is: {channels} channels are not padded to {wanted}: {reason}"]


def test_depthwise_channels_of_a_graph_output_stay() -> None:
    text, weights = inverted(30)
    graph = model(text.replace("=> (float[2,8,N,M] y)", "=> (float[2,8,N,M] y, float[2,30,6,6] r)"), weights=weights)
    assert "`r` is a graph output or read inside a body" in reasons(check(graph, ["depthwise-channels"]))[0]


def test_two_blocks_that_share_a_conv_are_padded_one_after_the_other() -> None:
    text, weights = inverted(30, more="")
    text = text.replace("=> (float[2,8,N,M] y)", "=> (float[2,8,N,M] q)").replace(
        "y = Conv(s, u)", "o = Conv(s, m) [f] f = Conv<group=45>(o, n) [q] q = Conv(f, k)"
    )
    weights |= {"m": conv(45, 30), "n": conv(45, 1, 3), "k": conv(8, 45)}
    result = check(model(text, weights=weights), ["depthwise-channels"])
    assert len(lines(result, "depthwise-channels")) == 2
    assert [n.attr("group") for n in result.graph.nodes if n.attr("group", 1) != 1] == [32, 48]


def test_target_rewrites_do_not_run_by_themselves() -> None:
    text, weights = inverted(30, second="HardSwish(d)")
    assert [a.rule for a in canonicalize(model(text, weights=weights)).applied] == ["dead-code"]


@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
def test_lstm_in_its_forward_form_computes_the_same(direction: str) -> None:
    ways = 2 if direction == "bidirectional" else 1
    weights = {"w": random(ways, 16, 3), "r": random(ways, 16, 4), "b": random(ways, 32)}
    graph = model(
        f"(float[6,2,3] x) => (float[6,{ways},2,4] y, float[{ways},2,4] h)"
        f'{{ [n] y, h = LSTM <hidden_size=4, direction="{direction}"> (x, w, r, b) }}',
        weights=weights,
    )
    found = check(graph, extra=["forward-lstm", "unroll"])
    layers = [node for node in found.graph.nodes if node.op == "LSTM"]
    assert len(layers) == ways
    assert all(node.attr("direction") is None and not node.outputs[1] for node in layers)
