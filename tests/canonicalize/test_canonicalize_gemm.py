"""Gemm's factors become part of its weight and bias."""

import pytest
from canonicalize_support import batchnorm, check, lines, model, ops, positive, random, reasons
from hypothesis import given, settings
from hypothesis import strategies as st

BN = "BatchNormalization(a, bn_scale, bn_bias, bn_mean, bn_var)"


@pytest.mark.parametrize(
    ("attributes", "bias"),
    [
        ("alpha=0.5, beta=2.0", True),
        ("alpha=0.5, transB=1", True),
        ("beta=0.0", True),
        ("alpha=2.0", False),
        ("beta=3.0", False),
    ],
)
def test_gemm_factors(attributes: str, bias: bool) -> None:
    weights = {"w": random(8, 4) if "transB" in attributes else random(4, 8), "b": random(8)}
    result = check(
        model(f"(float[2,4] x) => (float[2,8] y) {{ [g] y = Gemm<{attributes}>(x, w{', b' * bias}) }}", weights=weights)
    )
    assert not {"alpha", "beta"} & set(result.graph.nodes[0].attributes) or not bias


def test_gemm_that_stays() -> None:
    turned = check(
        model(
            "(float[4,2] x) => (float[2,8] y) { [g] y = Gemm<transA=1, alpha=2.0>(x, w) }", weights={"w": random(4, 8)}
        )
    )
    assert lines(turned, "gemm") == ("Gemm `g` with alpha 2, beta 1 -> 1, 1",)
    assert reasons(turned) == ["g: Gemm is left as it is: its first input is transposed (transA)"]
    fed = check(model("(float[2,4] x, float[4,8] w) => (float[2,8] y) { [g] y = Gemm<alpha=2.0>(x, w) }"))
    assert reasons(fed) == [
        "g: Gemm is left as it is: alpha 2 and beta 1 cannot be folded, as the weight of Gemm `g` is not a float constant"
    ]


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    sizes=st.tuples(st.integers(1, 3), st.integers(1, 5), st.integers(1, 5)),
    factors=st.tuples(st.sampled_from([1.0, 0.5, -2.0]), st.sampled_from([1.0, 0.25, 0.0])),
    turned=st.booleans(),
    bias=st.sampled_from([None, "scalar", "row", "wide", "full"]),
    behind=st.sampled_from(["none", "bn", "Mul", "Sub"]),
)
def test_any_gemm_folds_exactly(
    sizes: tuple[int, int, int], factors: tuple[float, float], turned: bool, bias: str | None, behind: str
) -> None:
    (n, k, m), (alpha, beta) = sizes, factors
    shapes: dict[str | None, tuple[int, ...]] = {"scalar": (), "row": (m,), "wide": (1, m), "full": (n, m), None: (m,)}
    weights = {
        "w": random(*((m, k) if turned else (k, m))),
        "b": random(*shapes[bias]),
        "k": positive(m),
        **batchnorm(m),
    }
    tail = {"none": "Relu(a)", "bn": BN, "Mul": "Mul(k, a)", "Sub": "Sub(k, a)"}[behind]
    text = f"[g] a = Gemm<alpha={alpha}, beta={beta}, transB={int(turned)}>(x, w{', b' if bias else ''}) [t] y = {tail}"
    result = check(model(f"(float[{n},{k}] x) => (float[{n},{m}] y) {{ {text} }}", weights=weights), rtol=1e-3)
    gemm = result.graph.nodes[0]
    assert ops(result) == (["Gemm", "Relu"] if behind == "none" else ["Gemm"])
    assert gemm.attr("alpha", 1.0) == 1.0
    assert gemm.attr("beta", 1.0) == 1.0 or not bias
