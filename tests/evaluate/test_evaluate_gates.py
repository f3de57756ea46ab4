"""Gates: figures at, above, below their limits, and missing."""

from __future__ import annotations

import math

import pytest

from qconvert.evaluate import Fidelity, Latency, Measurements, Metric, Size, judge
from qconvert.recipe.types import Gates


def metric(drop, name="top1"):
    return Metric(name=name, float_value=0.9, value=0.9 - drop, drop=drop, higher_is_better=True, samples=100)


def measured(drop=0.01, sqnr=30.0, ratio=3.5, speedup=2.0):
    return Measurements(
        fidelity=Fidelity(
            sqnr_db=sqnr, cosine=1, agreement=None, agreement_interval=None, samples=4, part="evaluation", outputs=()
        ),
        metrics=(metric(drop),),
        size=Size(float_bytes=int(1000 * ratio), bytes=1000),
        latency=Latency(
            float_ms=speedup, ms=1, float_p95_ms=1, p95_ms=1, ratio=speedup, ratio_quartiles=(1, 2),
            rounds=3, threads=1, clock="cpu", host="h", on_target=True,
        ),
    )  # fmt: skip


ALL = Gates(metric_drop=0.01, sqnr=30, size_ratio=3.5, speedup=2, int8_macs=0.9)


def test_limits_that_are_just_met():
    results, diagnostics = judge(ALL, measured(drop=0.9 - 0.89), 0.9)  # 0.9 - 0.89 is a hair above 0.01
    assert [r.name for r in results] == ["metric_drop", "sqnr", "size_ratio", "speedup", "int8_macs"]
    assert all(r.passed for r in results)
    assert diagnostics == ()


def test_only_what_is_asked_is_judged():
    assert judge(Gates(), measured(), None) == ((), ())
    assert [r.name for r in judge(Gates(sqnr=10), measured(), None)[0]] == ["sqnr"]


def test_limits_that_fail():
    results, diagnostics = judge(ALL, measured(0.011, 29.9, 3.4, 1.99), 0.899)
    assert not any(r.passed for r in results)
    assert [(d.code, d.where) for d in diagnostics] == [("G001", f"gates.{r.name}") for r in results]
    assert [d.message for d in diagnostics] == [
        "drop of the task metric: 0.011, wanted at most 0.01",
        "output SQNR: 29.9 dB, wanted at least 30.0 dB",
        "size ratio: 3.4x, wanted at least 3.5x",
        "speedup: 1.99x, wanted at least 2x",
        "integer share of the multiply-accumulates: 89.9%, wanted at least 90.0%",
    ]


def test_a_failure_is_seen_in_the_figures():
    _, (found,) = judge(Gates(sqnr=30), measured(sqnr=29.999), None)
    assert found.message == "output SQNR: 29.999, wanted at least 30.0 dB"


def test_missing_figures_fail():
    results, diagnostics = judge(ALL, Measurements(), None)
    assert [(r.value, r.passed) for r in results] == [(None, False)] * 5
    assert [d.code for d in diagnostics] == ["G002"] * 5
    assert diagnostics[0].message == "drop of the task metric: not measured, wanted at most 0.01"
    assert all(d.hint for d in diagnostics)


@pytest.mark.parametrize("drop", [math.nan])
def test_what_is_no_number_cannot_be_judged(drop):
    found = measured(drop, math.nan)
    assert [d.code for d in judge(Gates(metric_drop=0.1, sqnr=1), found, None)[1]] == ["G002", "G002"]


def test_the_worst_metric_counts():
    found = Measurements(metrics=(metric(-0.2), metric(0.05, "f1"), metric(0.0, "x")))
    (result,), _ = judge(Gates(metric_drop=0.02), found, None)
    assert (result.value, result.passed) == (0.05, False)
    assert judge(Gates(metric_drop=0), Measurements(metrics=(metric(-0.2),)), None)[0][0].passed


def test_infinite_figures():
    assert judge(Gates(sqnr=1000), measured(sqnr=math.inf), None)[0][0].passed
    assert not judge(Gates(sqnr=-1000), measured(sqnr=-math.inf), None)[0][0].passed
