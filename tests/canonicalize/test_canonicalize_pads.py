"""Pads become attributes of the layers behind them: Pad, auto_pad."""

import numpy as np
import pytest
from canonicalize_support import check, model, ops, random, reasons

PAD = {
    "w": random(8, 4, 3, 3),
    "p": np.int64([0, 0, 1, 2, 0, 0, 3, 0]),
    "spatial": np.int64([1, 2, 3, 0]),
    "axes": np.int64([2, -1]),
    "zero": np.float32(0),
}


@pytest.mark.parametrize("pad", ["Pad(x, p)", "Pad(x, p, zero)", "Pad(x, spatial, , axes)"])
@pytest.mark.parametrize(
    "conv", ["Conv(a, w)", "Conv<pads=[1,0,2,1], strides=[2,1]>(a, w)", 'Conv<auto_pad="VALID">(a, w)']
)
def test_pad_moves_into_conv(pad: str, conv: str) -> None:
    result = check(
        model(f"(float[2,4,6,6] x) => (float[N,C,H,W] y) {{ [p] a = {pad} [l] y = {conv} }}", opset=18, weights=PAD)
    )
    assert ops(result) == ["Conv"]
    assert result.graph.nodes[0].attr("pads") == ((2, 2, 5, 1) if "pads" in conv else (1, 2, 3, 0))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('[p] a = Pad<mode="reflect">(x, p) [l] y = Conv(a, w)', "its mode is reflect"),
        ("[p] a = Pad(x, p, one) [l] y = Conv(a, w)", "its value is not the constant 0"),
        ("[p] a = Pad(x, crop) [l] y = Conv(a, w)", "it crops"),
        ("[i] i = Neg(p) [k] k = Mul(i, n) [p] a = Pad(x, k) [l] y = Conv(a, w)", "its amounts are not constant"),
        (
            '[p] a = Pad(x, p) [l] y = Conv<auto_pad="SAME_UPPER", strides=[2,2]>(a, w)',
            "the Conv has auto_pad SAME_UPPER",
        ),
        ("[p] a = Pad(x, p) [l] y = MaxPool<kernel_shape=[2,2]>(a)", None),
        ("[p] a = Pad(x, channels) [l] y = Conv(a, v)", None),
    ],
)
def test_pad_that_stays(text: str, reason: str | None) -> None:
    weights = {
        **PAD,
        "one": np.float32(1),
        "crop": np.int64([0, 0, -1, 0, 0, 0, 0, 0]),
        "channels": np.int64([0, 0, 0, 0, 0, 1, 0, 0]),
        "v": random(8, 5, 3, 3),
    }
    feed = "float[2,4,H,W] x" if "SAME" in text else "float[2,4,6,6] x"
    result = check(model(f"({feed}, int64[1] n) => (float[N,C,H,W] y) {{ {text} }}", weights=weights))
    assert "Pad" in ops(result)
    assert [r for r in reasons(result) if r.startswith("p:")] == (
        [f"p: Pad is left as it is: it cannot move into Conv `l`: {reason}"] if reason else []
    )


def test_pad_with_two_readers_stays() -> None:
    two = check(
        model(
            "(float[2,4,6,6] x) => (float[N,C,H,W] y, float[A,B,D,E] z) { [p] a = Pad(x, p) [l] y = Conv(a, w) [m] z = Relu(a) }",
            weights=PAD,
        )
    )
    assert reasons(two) == ["p: Pad is left as it is: it cannot move into Conv `l`: `a` has 2 consumers"]


@pytest.mark.parametrize("mode", ["SAME_UPPER", "SAME_LOWER", "VALID"])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize(
    "call",
    [
        "Conv<{}, dilations=[2,1]>(x, w)",
        "Conv<{}>(x, v)",
        "MaxPool<{}, kernel_shape=[3,2]>(x)",
        "AveragePool<{}, kernel_shape=[3,2]>(x)",
        "AveragePool<{}, kernel_shape=[2,3], count_include_pad=1>(x)",
    ],
)
def test_auto_pad(mode: str, stride: int, call: str) -> None:
    if "dilations" in call and mode != "VALID":
        pytest.skip("the runtime refuses dilations with SAME")
    weights = {"w": random(8, 4, 3, 3), "v": random(8, 4, 2, 2)}
    call = call.format(f'auto_pad="{mode}", strides=[{stride},{stride}]')
    result = check(model(f"(float[2,4,7,8] x) => (float[N,C,H,W] y) {{ [l] y = {call} }}", weights=weights))
    assert "auto_pad" not in result.graph.nodes[0].attributes


OPEN = '(float[1,4,H,W] x) => (float[1,8,P,Q] y) {{ [l] y = Conv<auto_pad="{}", strides=[{},1]>(x, w) }}'


@pytest.mark.parametrize(("mode", "pads"), [("SAME_UPPER", (0, 1, 1, 1)), ("SAME_LOWER", (1, 1, 0, 1))])
def test_auto_pad_of_an_open_size_is_known_where_steps_are_of_one(mode: str, pads: tuple[int, ...]) -> None:
    result = check(model(OPEN.format(mode, 1), weights={"w": random(8, 4, 2, 3)}))
    assert result.graph.nodes[0].attr("pads") == pads


def test_auto_pad_of_an_open_size_stays_where_it_decides() -> None:
    result = check(model(OPEN.format("SAME_UPPER", 2), weights={"w": random(8, 4, 2, 2)}))
    assert reasons(result) == ["l: Conv is left as it is: auto_pad SAME_UPPER needs a static input size"]
