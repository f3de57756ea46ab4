"""Sizes that a model leaves open are those of the samples, unless the recipe gives them."""

from __future__ import annotations

import json

import numpy as np
import pytest
from end_to_end_support import Cli, Place, write_data
from quantize_support import random, text_model

from qconvert.graph import Graph, save
from qconvert.pipeline.planning.sizes import sizes_of, typical

MODEL = "(float[1,3,height,width] x) => (float[1,8,a,b] y) { c = Conv <pads=[1,1,1,1]> (x, w) y = Relu (c) }"
MACS = 3 * 8 * 9  # for each pixel


def open_model() -> Graph:
    return text_model(MODEL, w=random(8, 3, 3, 3))


@pytest.mark.parametrize(
    ("options", "wanted"), [([], 20 * 12), (["--set", "shapes.width=40"], 20 * 40), (["--set", "shapes.height=1"], 12)]
)
def test_the_plan_is_made_for_the_sizes_of_the_samples(place: Place, cli: Cli, options: list[str], wanted: int) -> None:
    save(open_model(), place.model)
    data = write_data(place.root / "tall", (3, 20, 12))
    ran = cli(*place.convert(*options, data=data))
    assert ran.code == 0, ran
    record = json.loads(place.output.with_suffix(".report.json").read_text())
    assert record["plan"]["macs"] == MACS * wanted
    assert any(note["code"] == "M106" for note in record["diagnostics"])


def test_a_file_of_fixed_sizes_has_those_of_the_samples(place: Place, cli: Cli) -> None:
    pytest.importorskip("flatbuffers")
    save(open_model(), place.model)
    data = write_data(place.root / "tall", (3, 20, 12))
    ran = cli(*place.convert("-t", "tflite-micro", data=data, output=place.root / "out" / "m.tflite"))
    assert ran.code == 0, ran
    assert "height: 20, width: 12" in ran.err + ran.out


def feeds(*shapes: tuple[int, ...]) -> list[dict[str, np.ndarray]]:
    return [{"x": np.zeros(shape, np.float32)} for shape in shapes]


def test_samples_that_differ() -> None:
    graph, several = open_model(), feeds((1, 3, 8, 8), (1, 3, 8, 32), (1, 3, 8, 16))
    assert sizes_of(graph, several, same=False) == {"height": 8, "width": 16}
    assert sizes_of(graph, several, same=True) == {"height": 8}
    assert sizes_of(graph, [], same=False) == {}
    assert typical([]) is None


def test_a_first_axis_that_is_one_in_some_samples() -> None:
    graph = text_model("(float[steps,3] x) => (float[steps,3] y) { y = Relu (x) }")
    several = feeds((5, 3), (1, 3))
    assert sizes_of(graph, several, same=True) == sizes_of(graph, several[::-1], same=True) == {}
    assert sizes_of(graph, feeds((5, 3), (5, 3)), same=True) == {"steps": 5}


def test_a_name_for_two_sizes_gives_none() -> None:
    graph = text_model("(float[n,3,n] x) => (float[n,3,n] y) { y = Relu (x) }")
    assert sizes_of(graph, feeds((1, 3, 8)), same=False) == {"n": 8}, "a batch of one says nothing"
    assert sizes_of(graph, feeds((2, 3, 8)), same=False) == {}
