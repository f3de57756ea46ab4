"""Conditions of `--fail-on`."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qconvert.errors import Diagnostic, QConvertError
from qconvert.evaluate.conditions import (
    BYTES,
    COUNT,
    DECIBEL,
    SHARE,
    TIME,
    TIMES,
    Figure,
    judge_conditions,
    parse_conditions,
)

FIGURES = {
    "sqnr": Figure("output SQNR", DECIBEL, "give data"),
    "agreement": Figure("same top-1", SHARE),
    "size": Figure("size", BYTES),
    "latency": Figure("time", TIME),
    "speedup": Figure("speedup", TIMES),
    "placement": Figure("nodes placed otherwise", COUNT, bare=True),
}


@pytest.mark.parametrize(
    ("text", "figure", "sign", "limit"),
    [
        ("sqnr<30", "sqnr", "<", 30),
        ("sqnr <= -1.5 dB", "sqnr", "<=", -1.5),
        ("agreement<99.5%", "agreement", "<", 0.995),
        ("size>2MiB", "size", ">", 2 << 20),
        ("size>=64k", "size", ">=", 65536),
        ("latency>1.5ms", "latency", ">", 1.5),
        ("latency>250us", "latency", ">", 0.25),
        ("speedup<1.2x", "speedup", "<", 1.2),
        ("speedup<110%", "speedup", "<", 1.1),
        ("placement", "placement", ">", 0),
        ("placement>3", "placement", ">", 3),
    ],
)
def test_what_can_be_said(text: str, figure: str, sign: str, limit: float) -> None:
    (found,) = parse_conditions([text], FIGURES)
    assert (found.figure, found.sign, found.limit) == (figure, sign, pytest.approx(limit))


def test_every_mistake_is_named() -> None:
    texts = ["sqnr, sqrn<30", "size>2 parsecs", "latency>5", "SQNR=3", "", "placement>"]
    with pytest.raises(QConvertError) as caught:
        parse_conditions(texts, FIGURES)
    said = [str(d) for d in caught.value.diagnostics]
    assert caught.value.exit_code == 2
    assert len(said) == 7
    assert "says no limit" in said[0]
    assert "did you mean `sqnr`?" in said[1]
    assert "`2 parsecs` is no limit of `size`" in said[2]
    assert "us or µs or ms or s" in said[3]
    assert "not a condition: `SQNR=3`" in said[4]
    assert "not a condition: ``" in said[5]


def test_a_true_condition_fails_and_an_unknown_figure_too() -> None:
    conditions = parse_conditions(["sqnr<30,size>1k", "agreement<1"], FIGURES)
    found = list(judge_conditions(conditions, FIGURES, {"sqnr": 29.9, "size": 1024.0}, "`m`"))
    assert [gate.passed for gate, _ in found] == [False, True, False]
    assert found[0][0].text == "output SQNR of `m`: 29.9 dB, fails below 30.0 dB"
    assert [d.code if d else None for _, d in found] == ["G001", None, "G002"]


@given(st.floats(), st.sampled_from(["<", "<=", ">", ">="]), st.floats(-1e6, 1e6))
def test_a_condition_and_its_opposite_never_hold_together(value: float, sign: str, limit: float) -> None:
    opposite = {"<": ">=", "<=": ">", ">": "<=", ">=": "<"}[sign]
    conditions = parse_conditions([f"sqnr{sign}{limit:.6f}", f"sqnr{opposite}{limit:.6f}"], FIGURES)
    passed = [gate.passed for gate, _ in judge_conditions(conditions, FIGURES, {"sqnr": value})]
    assert passed == [False, False] if math.isnan(value) else sorted(passed) == [False, True]


@given(st.text(max_size=30))
def test_any_text_is_a_condition_or_one_clear_mistake(text: str) -> None:
    diagnostics: tuple[Diagnostic, ...] = ()
    try:
        parse_conditions([text], FIGURES)
    except QConvertError as error:
        diagnostics = error.diagnostics
    assert all(d.code == "R011" and d.hint for d in diagnostics)
