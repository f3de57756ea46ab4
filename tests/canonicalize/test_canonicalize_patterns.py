"""Chains that are one operator: LayerNormalization and Gelu."""

import numpy as np
import pytest
from canonicalize_support import check, lines, model, ops, positive, random, reasons

CORE = "[m] mean = ReduceMean<axes=[-1]>(x) [d] d = Sub(x, mean) {square} [v] var = ReduceMean<axes=[-1]>(sq) [e] ve = Add(var, eps) [s] std = Sqrt(ve) [q] n = Div(d, std)"
WEIGHTS = {"two": np.float32(2), "eps": np.float32(1e-5), "gamma": positive(8), "beta": random(8)}
SQUARES = {
    "pow": "[p] sq = Pow(d, two)",
    "mul": "[p] sq = Mul(d, d)",
    "again": "[c] d2 = Sub(x, mean) [p] sq = Pow(d2, two)",
}


@pytest.mark.parametrize("square", SQUARES)
@pytest.mark.parametrize(
    "tail",
    [
        "[g] z = Mul(n, gamma) [b] y = Add(z, beta)",
        "[g] z = Mul(gamma, n) [b] y = Add(beta, z)",
        "[g] y = Mul(n, gamma)",
        "[i] y = Identity(n)",
    ],
)
def test_layer_norm(square: str, tail: str) -> None:
    graph = model(
        f"(float[2,3,8] x) => (float[2,3,8] y) {{ {CORE.format(square=SQUARES[square])} {tail} }}", weights=WEIGHTS
    )
    result = check(graph)
    assert ops(result) == ["LayerNormalization"]
    assert result.graph.nodes[0].attr("axis") == -1
    assert result.graph.nodes[0].attr("epsilon") == pytest.approx(1e-5)


@pytest.mark.parametrize("opset", [17, 18])
def test_layer_norm_over_two_axes_in_both_forms_of_axes(opset: int) -> None:
    mean = "ReduceMean<axes=[1,2]>({})" if opset == 17 else "ReduceMean({}, axes)"
    text = (
        CORE.format(square=SQUARES["pow"])
        .replace("ReduceMean<axes=[-1]>(x)", mean.format("x"))
        .replace("ReduceMean<axes=[-1]>(sq)", mean.format("sq"))
    )
    weights = {**WEIGHTS, "gamma": positive(3, 8), "beta": random(3, 8), "axes": np.int64([-2, 2])}
    result = check(
        model(
            f"(float[N,3,8] x) => (float[N,3,8] y) {{ {text} [g] z = Mul(n, gamma) [b] y = Add(z, beta) }}",
            opset=opset,
            weights=weights,
        )
    )
    assert [str(n) for n in result.graph.nodes] == ["y = LayerNormalization(x, gamma, beta)"]
    assert result.graph.nodes[0].attr("axis") == -2


@pytest.mark.parametrize(
    "change",
    [
        ("axes=[-1]>(x)", "axes=[1]>(x)"),
        ("axes=[-1]>(sq)", "axes=[1]>(sq)"),
        ("Sub(x, mean)", "Sub(mean, x)"),
        ("Div(d, std)", "Div(x, std)"),
    ],
)
def test_what_only_looks_like_layer_norm_stays(change: tuple[str, str]) -> None:
    text = CORE.format(square=SQUARES["pow"]).replace(*change)
    assert "LayerNormalization" not in ops(
        check(model(f"(float[2,8,8] x) => (float[2,8,8] y) {{ {text} [i] y = Relu(n) }}", weights=WEIGHTS))
    )


def test_rms_norm_stays() -> None:
    text = "[p] sq = Pow(x, two) [v] var = ReduceMean<axes=[-1]>(sq) [e] ve = Add(var, eps) [s] std = Sqrt(ve) [q] n = Div(x, std) [g] y = Mul(n, gamma)"
    assert "LayerNormalization" not in ops(
        check(model(f"(float[2,8] x) => (float[2,8] y) {{ {text} }}", weights=WEIGHTS))
    )


def test_layer_norm_that_leaks_or_is_old_or_double_stays() -> None:
    text = CORE.format(square=SQUARES["pow"])
    leaking = check(
        model(f"(float[2,8] x) => (float[2,8] y, float[2,8] d) {{ {text} [g] y = Mul(n, gamma) }}", weights=WEIGHTS)
    )
    assert reasons(leaking) == ["q: Div is left as it is: `d` inside a LayerNormalization chain is read elsewhere"]
    assert "LayerNormalization" not in ops(
        check(model(f"(float[2,8] x) => (float[2,8] y) {{ {text} [g] y = Mul(n, gamma) }}", opset=13, weights=WEIGHTS))
    )
    wide = {name: value.astype(np.float64) for name, value in WEIGHTS.items()}
    double = check(model(f"(double[2,8] x) => (double[2,8] y) {{ {text} [g] y = Mul(n, gamma) }}", weights=wide))
    assert "needs a float32 or float16 input with static last axes" in reasons(double)[0]


def test_layer_norm_whose_factor_has_another_shape_gets_ones() -> None:
    text = CORE.format(square=SQUARES["pow"])
    result = check(model(f"(float[2,8] x) => (float[2,8] y) {{ {text} [g] y = Mul(n, two) }}", weights=WEIGHTS))
    assert ops(result) == ["LayerNormalization", "Mul"]


GELU = {
    "half": np.float32(0.5),
    "one": np.float32(1),
    "root": np.float32(np.sqrt(2)),
    "inverse": np.float32(np.sqrt(0.5)),
}


@pytest.mark.parametrize("scaled", ["Div(x, root)", "Mul(x, inverse)", "Mul(inverse, x)"])
@pytest.mark.parametrize(
    "products",
    [
        "[m] m = Mul(x, p) [n] y = Mul(m, half)",
        "[m] m = Mul(p, half) [n] y = Mul(x, m)",
        "[m] m = Mul(x, half) [n] y = Mul(m, p)",
        "[m] m = Mul(half, x) [n] y = Mul(p, m)",
    ],
)
def test_gelu(scaled: str, products: str) -> None:
    text = f"(float[2,8] x) => (float[2,8] y) {{ [d] d = {scaled} [e] e = Erf(d) [o] p = Add(e, one) {products} }}"
    result = check(model(text, opset=20, weights=GELU))
    assert [str(n) for n in result.graph.nodes] == ["y = Gelu(x)"]
    assert lines(result, "gelu") == ("5 nodes at Erf `e` -> Gelu",)
    assert "Erf" in ops(check(model(text, opset=17, weights=GELU)))


@pytest.mark.parametrize(
    "change",
    [
        ("Add(e, one)", "Add(e, half)"),
        ("Div(x, root)", "Div(x, one)"),
        ("Mul(m, half)", "Mul(m, one)"),
        ("Mul(x, p)", "Mul(d, p)"),
    ],
)
def test_what_only_looks_like_gelu_stays(change: tuple[str, str]) -> None:
    text = "(float[2,8] x) => (float[2,8] y) { [d] d = Div(x, root) [e] e = Erf(d) [o] p = Add(e, one) [m] m = Mul(x, p) [n] y = Mul(m, half) }"
    assert "Gelu" not in ops(check(model(text.replace(*change), opset=20, weights=GELU)))


def test_gelu_that_leaks_stays() -> None:
    text = "(float[2,8] x) => (float[2,8] y, float[2,8] e) { [d] d = Div(x, root) [e] e = Erf(d) [o] p = Add(e, one) [m] m = Mul(x, p) [n] y = Mul(m, half) }"
    result = check(model(text, opset=20, weights=GELU))
    assert "Gelu" not in ops(result)
    text = "(float[2,8] x) => (float[2,8] y, float[2,8] m) { [d] d = Div(x, root) [e] e = Erf(d) [o] p = Add(e, one) [m] m = Mul(x, p) [n] y = Mul(m, half) }"
    assert "Gelu" not in ops(check(model(text, opset=20, weights=GELU)))
