"""Folding constants into layers: BatchNormalization, Mul and Add."""

from typing import Any

import numpy as np
import pytest
from canonicalize_support import batchnorm, check, lines, model, ops, positive, random, reasons, run
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qconvert.canonicalize import canonicalize
from qconvert.graph import Array

BN = "BatchNormalization(a, bn_scale, bn_bias, bn_mean, bn_var)"
LAYERS: dict[str, tuple[str, str, dict[str, Array]]] = {
    "Conv": ("float[2,4,6,6] x", "Conv(x, w)", {"w": random(8, 4, 3, 3)}),
    "Conv, bias, padded": (
        "float[2,4,6,6] x",
        "Conv<pads=[1,1,1,1]>(x, w, b)",
        {"w": random(8, 4, 3, 3), "b": random(8)},
    ),
    "Conv, groups": ("float[2,4,6,6] x", "Conv<group=2>(x, w)", {"w": random(8, 2, 3, 3)}),
    "Conv, depthwise": ("float[2,8,6,6] x", "Conv<group=8>(x, w)", {"w": random(8, 1, 3, 3)}),
    "Conv, one axis": ("float[2,4,6] x", "Conv(x, w)", {"w": random(8, 4, 3)}),
    "ConvTranspose": (
        "float[2,4,6,6] x",
        "ConvTranspose<strides=[2,2]>(x, w, b)",
        {"w": random(4, 8, 3, 3), "b": random(8)},
    ),
    "ConvTranspose, groups": ("float[2,4,6,6] x", "ConvTranspose<group=2>(x, w)", {"w": random(4, 4, 3, 3)}),
    "Gemm": ("float[2,4] x", "Gemm(x, w, b)", {"w": random(4, 8), "b": random(8)}),
    "Gemm, transposed": ("float[2,4] x", "Gemm<transB=1>(x, w)", {"w": random(8, 4)}),
    "Gemm, factors": ("float[2,4] x", "Gemm<alpha=0.5,beta=2.0>(x, w, b)", {"w": random(4, 8), "b": random(1, 8)}),
    "Gemm, matrix bias": ("float[2,4] x", "Gemm(x, w, b)", {"w": random(4, 8), "b": random(2, 8)}),
    "Gemm, scalar bias": ("float[2,4] x", "Gemm(x, w, b)", {"w": random(4, 8), "b": np.float32(0.7)}),
}


@pytest.mark.parametrize("case", LAYERS)
def test_batchnorm_moves_into_the_layer_in_front(case: str) -> None:
    feed, call, weights = LAYERS[case]
    rank = feed.count(",") + 1
    shape = ",".join("NCHW"[:rank])
    op = call.split("(")[0].split("<")[0]
    result = check(
        model(f"({feed}) => (float[{shape}] y) {{ [l] a = {call} [n] y = {BN} }}", weights={**weights, **batchnorm(8)})
    )
    assert ops(result) == [op]
    assert lines(result, "fold-batchnorm") == (f"{op} `l` + BatchNormalization `n` -> {op} `l`",)
    assert result.diagnostics == ()


def test_batchnorm_behind_matmul_needs_a_bias() -> None:
    result = check(
        model(
            f"(float[2,4] x) => (float[2,8] y) {{ [m] a = MatMul(x, w) [n] y = {BN} }}",
            weights={"w": random(4, 8), **batchnorm(8)},
        )
    )
    assert [str(n) for n in result.graph.nodes] == ["a = MatMul(x, w)", "y = Add(a, w_bias)"]


def test_batchnorm_behind_matmul_and_add() -> None:
    text = f"(float[2,4] x) => (float[2,8] y) {{ [m] p = MatMul(x, w) [b] a = Add(b, p) [n] y = {BN} [r] z = Relu(y) }}"
    result = check(model(text, weights={"w": random(4, 8), "b": random(8), **batchnorm(8)}))
    assert [str(n) for n in result.graph.nodes] == ["p = MatMul(x, w)", "y = Add(p, b)"]
    assert set(result.graph.weights) == {"w", "b"}


@pytest.mark.parametrize(
    ("weight", "between", "shape"),
    [
        ((8, 4, 6, 6), "Flatten(c)", "2,8"),
        ((8, 4, 6, 6), "Squeeze(c, axes)", "2,8"),
        ((8, 4, 3, 3), "Reshape(c, to)", "2,8,16"),
        ((8, 4, 3, 3), "Transpose<perm=[0,1,3,2]>(c)", "2,8,4,4"),
        ((8, 4, 3, 3), "GlobalAveragePool(c)", "2,8,1,1"),
    ],
)
def test_batchnorm_moves_through_what_keeps_channels_together(
    weight: tuple[int, ...], between: str, shape: str
) -> None:
    weights = {"w": random(*weight), "axes": np.int64([2, 3]), "to": np.int64([2, 8, 16]), **batchnorm(8)}
    result = check(
        model(
            f"(float[2,4,6,6] x) => (float[{shape}] y) {{ [l] c = Conv(x, w) [s] a = {between} [n] y = {BN} }}",
            weights=weights,
        )
    )
    assert ops(result) == ["Conv", between.split("(", maxsplit=1)[0].split("<", maxsplit=1)[0]]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (f"[l] a = Conv(x, w) [n] y = {BN} [r] z = Relu(a)", "`a` has 2 consumers"),
        (f"[l] z = Conv(x, w) [i] a = Relu(z) [n] y = {BN}", "`z` is a graph output"),
        (f"[l] c = Conv(x, w) [r] a = Relu(c) [n] y = {BN} [s] z = Relu(c)", "Relu `r` in front of it is no layer"),
        (f"[p] c = Conv(x, w) [l] a = Pad(c, pads) [n] y = {BN} [s] z = Relu(y)", "Pad `l` in front of it is no layer"),
        (
            f"[t] v = Neg(w) [k] k = Mul(v, x0) [l] a = Conv(x, k) [n] y = {BN} [s] z = Relu(y)",
            "the weight of Conv `l` is not a float constant",
        ),
        (
            f"[k] k = Mul(b, x0) [l] a = Conv(x, w, k) [n] y = {BN} [s] z = Relu(y)",
            "the bias of Conv `l` is not constant",
        ),
    ],
)
def test_batchnorm_that_stays(text: str, reason: str) -> None:
    weights = {"w": random(8, 4, 3, 3), "b": random(8), "pads": np.int64([0, 0, 1, 1, 0, 0, 1, 1]), **batchnorm(8)}
    if reason.startswith("`z`"):
        text = text.replace("[i] a = Relu(z)", "").replace("BatchNormalization(a", "BatchNormalization(z")
    result = check(
        model(f"(float[2,4,6,6] x, float[1] x0) => (float[N,C,H,W] y, float[A,B,D,E] z) {{ {text} }}", weights=weights)
    )
    assert "BatchNormalization" in ops(result)
    assert len(reasons(result)) == 1
    assert reasons(result)[0].startswith(f"n: BatchNormalization is left as it is: {reason}")


def test_batchnorm_in_training_mode_and_with_a_computed_parameter() -> None:
    text = "(float[2,4,6,6] x, float[8] s) => (float[2,8,4,4] y) { [l] a = Conv(x, w) [n] b, m1, v1 = BatchNormalization<training_mode=1>(a, bn_scale, bn_bias, bn_mean, bn_var) [m] y = BatchNormalization(b, s, bn_bias, bn_mean, bn_var) }"
    assert reasons(check(model(text, weights={"w": random(8, 4, 3, 3), **batchnorm(8)}))) == [
        "n: BatchNormalization is left as it is: it is in training mode",
        "m: BatchNormalization is left as it is: a parameter is not constant",
    ]


AHEAD: dict[str, tuple[str, str, dict[str, Array]]] = {
    "Conv": ("float[2,4,6,6] x", "[l] y = Conv(a, w)", {"w": random(8, 4, 3, 3)}),
    "Conv, groups, bias": (
        "float[2,4,6,6] x",
        "[l] y = Conv<group=2>(a, w, b)",
        {"w": random(8, 2, 3, 3), "b": random(8)},
    ),
    "Gemm": ("float[2,4] x", "[l] y = Gemm<alpha=0.5>(a, w, b)", {"w": random(4, 8), "b": random(8)}),
    "Gemm, transposed": ("float[2,4] x", "[l] y = Gemm<transB=1>(a, w)", {"w": random(8, 4)}),
    "MatMul": ("float[2,4] x", "[l] y = MatMul(a, w)", {"w": random(4, 8)}),
    "MatMul, Add": ("float[2,4] x", "[l] p = MatMul(a, w) [k] y = Add(p, b)", {"w": random(4, 8), "b": random(8)}),
    "Flatten, Gemm": ("float[2,4,3,3] x", "[f] f = Flatten(a) [l] y = Gemm(f, w)", {"w": random(36, 8)}),
}


@pytest.mark.parametrize("case", AHEAD)
def test_batchnorm_moves_into_the_layer_behind(case: str) -> None:
    feed, call, weights = AHEAD[case]
    shape = "N,C,H,W"[: 7 if "Conv" in case else 3]
    norm = "[r] r = Relu(x) [n] a = BatchNormalization(r, bn_scale, bn_bias, bn_mean, bn_var)"
    result = check(model(f"({feed}) => (float[{shape}] y) {{ {norm} {call} }}", weights={**weights, **batchnorm(4)}))
    assert "BatchNormalization" not in ops(result)
    assert ops(result).count("Add") == ("MatMul" in case)


@pytest.mark.parametrize("shifted", [True, False])
def test_batchnorm_in_front_of_a_padded_conv_needs_a_shift_of_zero(shifted: bool) -> None:
    weights = {"w": random(8, 4, 3, 3), **batchnorm(4)}
    if not shifted:
        weights |= {"bn_bias": np.zeros(4, np.float32), "bn_mean": np.zeros(4, np.float32)}
    text = "(float[2,4,6,6] x) => (float[2,8,6,6] y) { [n] a = BatchNormalization(x, bn_scale, bn_bias, bn_mean, bn_var) [l] y = Conv<pads=[1,1,1,1]>(a, w) }"
    result = check(model(text, weights=weights))
    assert ops(result) == (["BatchNormalization", "Conv"] if shifted else ["Conv"])
    if shifted:
        assert reasons(result) == [
            "n: BatchNormalization is left as it is: `x` is not computed by a layer; Conv `l` pads with zeros, which the shift would change"
        ]


def test_batchnorm_in_front_of_convtranspose_or_of_three_axes_stays() -> None:
    norm = "[n] a = BatchNormalization(x, bn_scale, bn_bias, bn_mean, bn_var)"
    up = check(
        model(
            f"(float[2,4,6,6] x) => (float[2,8,8,8] y) {{ {norm} [l] y = ConvTranspose(a, w) }}",
            weights={"w": random(4, 8, 3, 3), **batchnorm(4)},
        )
    )
    assert "does not treat border pixels like the others" in reasons(up)[0]
    deep = check(
        model(
            f"(float[2,4,4] x) => (float[2,4,8] y) {{ {norm} [l] y = MatMul(a, w) }}",
            weights={"w": random(4, 8), **batchnorm(4)},
        )
    )
    assert "its channels are not the last axis" in reasons(deep)[0]


def test_a_weight_that_another_layer_shares_is_copied() -> None:
    text = f"(float[2,4,6,6] x) => (float[2,8,4,4] y, float[2,8,4,4] z) {{ [l] a = Conv(x, w) [n] y = {BN} [m] z = Conv(x, w) }}"
    result = check(model(text, weights={"w": random(8, 4, 3, 3), **batchnorm(8)}))
    assert [str(n) for n in result.graph.nodes] == ["y = Conv(x, w_1, w_1_bias)", "z = Conv(x, w)"]


@pytest.mark.parametrize(("dtype", "tolerance"), [("float16", 2e-2), ("double", 1e-12)])
def test_other_float_types_are_kept(dtype: str, tolerance: float) -> None:
    kind = np.float16 if dtype == "float16" else np.float64
    weights = {"w": (random(4, 8) * 0.1).astype(kind), "b": random(8).astype(kind), **batchnorm(8, dtype=kind)}
    result = check(
        model(f"({dtype}[2,4] x) => ({dtype}[2,8] y) {{ [l] a = Gemm(x, w, b) [n] y = {BN} }}", weights=weights),
        rtol=tolerance,
    )
    assert ops(result) == ["Gemm"]
    assert {str(result.graph.constant(name).dtype) for name in result.graph.weights} == {np.dtype(kind).name}


def test_a_fold_that_overflows_is_left() -> None:
    parameters = {**batchnorm(8, dtype=np.float16), "bn_scale": np.full(8, 60000, np.float16)}
    text = f"(float16[2,4,6,6] x) => (float16[2,8,4,4] y) {{ [l] a = Conv(x, w) [n] y = {BN} }}"
    result = canonicalize(model(text, weights={"w": random(8, 4, 3, 3).astype(np.float16) * 10, **parameters}))
    assert "the weight would overflow float16" in reasons(result)[0]


@pytest.mark.parametrize("case", LAYERS)
@pytest.mark.parametrize(
    "form",
    [
        "Mul(a, k)",
        "Mul(k, a)",
        "Add(a, k)",
        "Sub(a, k)",
        "Sub(k, a)",
        "Div(a, k)",
        "Mul(a, s)",
        "Add(s, a)",
        "Div(a, one)",
    ],
)
def test_constants_behind_a_layer_move_into_it(case: str, form: str) -> None:
    feed, call, weights = LAYERS[case]
    rank = feed.count(",") + 1
    shape = (8,) + (1,) * (rank - 2)
    weights = {**weights, "k": positive(*shape), "s": np.float32(0.3), "one": np.float32([0.7])}
    result = check(
        model(f"({feed}) => (float[{','.join('NCHW'[:rank])}] y) {{ [l] a = {call} [n] y = {form} }}", weights=weights)
    )
    assert len(ops(result)) == 1
    assert len(lines(result, "fold-affine")) == 1


@pytest.mark.parametrize(
    ("form", "left"),
    [
        ("Mul(a, k)", ["MatMul"]),
        ("Div(a, s)", ["MatMul"]),
        ("Add(a, k)", ["MatMul", "Add"]),
        ("Sub(a, k)", ["MatMul", "Add"]),
        ("Sub(k, a)", ["MatMul", "Add"]),
    ],
)
def test_constants_behind_a_matmul(form: str, left: list[str]) -> None:
    weights = {"w": random(4, 8), "k": positive(8), "s": np.float32(0.3)}
    graph = model(f"(float[2,3,4] x) => (float[2,3,8] y) {{ [l] a = MatMul(x, w) [n] y = {form} }}", weights=weights)
    assert ops(check(graph)) == left


def test_a_chain_collapses_into_the_layer() -> None:
    text = f"(float[2,4,6,6] x) => (float[2,8,4,4] y) {{ [l] c = Conv(x, w) [p] a = Add(c, k) [n] b = {BN} [m] d = Mul(b, s) [q] y = Sub(d, k) }}"
    result = check(
        model(text, weights={"w": random(8, 4, 3, 3), "k": random(8, 1, 1), "s": np.float32(2.5), **batchnorm(8)})
    )
    assert ops(result) == ["Conv"]


def test_matmul_with_bias_takes_what_follows() -> None:
    text = "(float[2,3,4] x) => (float[2,3,8] y) { [l] a = MatMul(x, w) [p] b = Add(k, a) [n] c = Mul(b, k) [m] y = Add(c, s) }"
    result = check(model(text, weights={"w": random(4, 8), "k": positive(8), "s": np.float32(2.5)}))
    assert ops(result) == ["MatMul", "Add"]


@pytest.mark.parametrize(
    ("form", "reason"),
    [
        ("Mul(a, row)", "its constant of shape [4] is not one value a channel"),
        ("Mul(a, deep)", "its constant of shape [1, 1, 8, 1, 1] is not one value a channel"),
        ("Div(k, a)", "it divides by the layer's result or by zero"),
        ("Div(a, zero)", "it divides by the layer's result or by zero"),
    ],
)
def test_constants_that_stay(form: str, reason: str) -> None:
    weights = {
        "w": random(8, 4, 3, 3),
        "k": positive(8, 1, 1),
        "row": positive(4),
        "deep": positive(1, 1, 8, 1, 1),
        "zero": np.float32(0),
    }
    graph = model(
        f"(float[2,4,6,6] x) => (y) {{ [l] a = Conv(x, w) [n] y = {form} }}".replace("(y)", "(float[A,B,C,D] y)"),
        weights=weights,
    )
    result = canonicalize(graph)
    assert ops(result) == ["Conv", form.split("(", maxsplit=1)[0]]
    assert reasons(result) == [f"n: {form.split('(', maxsplit=1)[0]} is left as it is: {reason}"]


@pytest.mark.parametrize(
    "text", ["[l] a = Conv(x, w) [n] y = Mul(a, k) [m] z = Relu(a)", "[l] z = Conv(x, w) [n] y = Mul(z, k)"]
)
def test_a_layer_with_other_readers_keeps_its_constant(text: str) -> None:
    graph = model(
        f"(float[2,4,6,6] x) => (float[2,8,4,4] y, float[2,8,4,4] z) {{ {text} }}",
        weights={"w": random(8, 4, 3, 3), "k": positive(8, 1, 1)},
    )
    assert "Mul" in ops(check(graph))


def test_one_output_channel_that_a_constant_widens_stays() -> None:
    graph = model(
        "(float[2,4,6,6] x) => (float[2,8,4,4] y) { [l] a = Conv(x, w) [n] y = Mul(a, k) }",
        weights={"w": random(1, 4, 3, 3), "k": positive(8, 1, 1)},
    )
    assert ops(check(graph)) == ["Conv", "Mul"]


@st.composite
def conv_chains(draw: st.DrawFn) -> tuple[str, dict[str, Any], int]:
    """A layer with random group, sizes and flags, and a random chain of constants and BatchNormalization behind it."""
    group, per_in, per_out = draw(st.integers(1, 3)), draw(st.integers(1, 3)), draw(st.integers(1, 3))
    kernel, stride, pad = draw(st.integers(1, 3)), draw(st.integers(1, 2)), draw(st.integers(0, 1))
    transposed, bias = draw(st.booleans()), draw(st.booleans())
    channels = group * per_out
    shape = (group * per_in, per_out, kernel, kernel) if transposed else (channels, per_in, kernel, kernel)
    weights: dict[str, Any] = {"w": random(*shape), "b": random(channels), **batchnorm(channels)}
    op = "ConvTranspose" if transposed else "Conv"
    text = (
        f"[l] v0 = {op}<group={group}, strides=[{stride},{stride}], pads=[{pad},{pad},{pad},{pad}]>(x, w{', b' * bias})"
    )
    kinds = draw(st.lists(st.sampled_from(["bn", "Mul", "Add", "Sub", "Div"]), min_size=1, max_size=4))
    for i, kind in enumerate(kinds):
        weights[f"k{i}"] = positive(*draw(st.sampled_from([(), (1,), (channels, 1, 1), (1, channels, 1, 1)])), seed=i)
        operands = [f"v{i}", f"k{i}"] if kind == "Div" or draw(st.booleans()) else [f"k{i}", f"v{i}"]
        call = (
            f"BatchNormalization(v{i}, bn_scale, bn_bias, bn_mean, bn_var)"
            if kind == "bn"
            else f"{kind}({', '.join(operands)})"
        )
        text += f" [n{i}] v{i + 1} = {call}"
    return f"(float[2,{group * per_in},5,5] x) => (float[N,C,H,W] v{len(kinds)}) {{ {text} }}", weights, len(kinds)


@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(conv_chains())
def test_any_chain_behind_a_convolution_folds_exactly(case: tuple[str, dict[str, Any], int]) -> None:
    text, weights, length = case
    result = check(model(text, weights=weights), rtol=1e-3)
    assert len(ops(result)) == 1
    assert sum(len(a.lines) for a in result.applied if a.rule.startswith("fold-")) == length


def test_the_original_weights_are_untouched() -> None:
    graph = model(
        f"(float[2,4,6,6] x) => (float[2,8,4,4] y) {{ [l] a = Conv(x, w) [n] y = {BN} }}",
        weights={"w": random(8, 4, 3, 3), **batchnorm(8)},
    )
    values = {"x": random(2, 4, 6, 6)}
    before = run(graph, values)[0]
    canonicalize(graph)
    np.testing.assert_array_equal(graph.constant("w"), random(8, 4, 3, 3))
    np.testing.assert_array_equal(run(graph, values)[0], before)
