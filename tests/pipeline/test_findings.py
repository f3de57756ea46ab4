"""What the checks of the product say that its plan does not say already."""

from __future__ import annotations

import json
import re

import pytest
from end_to_end_support import Cli, Place, write_data
from quantize_support import random, text_model

from qconvert.graph import save


def test_float_nodes_of_the_plan_are_no_findings(place: Place, cli: Cli) -> None:
    text = "(float[1,16,8,8] x) => (float[1,16,8,8] y) { a = Conv (x, w) b = Erf (a) c = Conv (b, w) y = Conv (c, w) }"
    save(text_model(text, w=random(16, 16, 1, 1)), place.model)
    data = write_data(place.root / "own", (16, 8, 8))
    ran = cli(*place.convert(data=data))
    assert ran.code == 0, ran
    record = json.loads(place.output.with_suffix(".report.json").read_text())
    assert any(node["reason_code"] == "P001" for node in record["plan"]["nodes"]), "the plan says why"
    assert "C204" not in {found["code"] for found in record["diagnostics"]}
    ran = cli("check", place.output, "-t", "x86-vnni")
    assert "C204" in ran.out + ran.err, "a file without its plan"


def test_a_slower_result_says_what_takes_longer(place: Place, cli: Cli) -> None:
    """onnxruntime's integer AveragePool takes many times as long as the float one."""
    text = """(float[1,16,48,48] x) => (float[1,16,48,48] y)
        { c = Conv(x, w) p = AveragePool<kernel_shape=[3,3], pads=[1,1,1,1]>(c)
          y = AveragePool<kernel_shape=[3,3], pads=[1,1,1,1]>(p) }"""
    save(text_model(text, w=random(16, 16, 1, 1)), place.model)
    data = write_data(place.root / "own", (16, 48, 48))
    ran = cli(*place.convert(data=data), "--set", "placement=everywhere", "--set", "evaluation.latency=true")
    assert ran.code == 0, ran
    record = json.loads(place.output.with_suffix(".report.json").read_text())
    if not record["measurements"]["latency"]["on_target"]:
        pytest.skip("this host is no x86-64")
    (slow,) = [found for found in record["diagnostics"] if found["code"] == "V100"]
    assert re.search(r"longer take AveragePool \d+\.\d\d -> \d+\.\d\d ms", slow["message"])
    assert "n_p" in slow["hint"]
