"""What the record holds for pictures: histograms, sizes, convergence; and the geometry that is made of it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from end_to_end_support import Cli, Place
from hypothesis import given
from hypothesis import strategies as st
from report_records import rich_record

from qconvert.calibrate import Sketcher, params_for_range, sketch_of
from qconvert.pipeline.drafting.statistics import Statistics
from qconvert.pipeline.recording.details import BINS, activation_histograms
from qconvert.report import RunRecord, charts, to_html
from qconvert.report.rows import family, layer_rows
from qconvert.report.words import clean, duration, percent, size
from qconvert.targets.formats import Format

U8 = Format("uint8", symmetric=False)


def test_a_histogram_tells_what_is_clipped() -> None:
    sketcher = Sketcher()
    sketcher.add(np.concatenate([np.linspace(0, 0.98, 990), np.full(10, 8.0)]).astype(np.float32))
    (found,) = activation_histograms({"t": params_for_range(U8, 0.0, 1.0)}, {"t": sketcher.result()})
    assert found.clipped == pytest.approx(0.01)
    assert sum(found.counts) == 1000
    assert (found.counts[-1], len(found.counts)) == (10, BINS)
    assert (found.range_low, found.range_high) == (0.0, pytest.approx(1.0))
    assert found.sqnr_db < 3
    shape = charts.bars(found)
    assert (shape.left, shape.width) == ("0", "12.5")
    assert shape.outside.count("M") == 1


@pytest.mark.parametrize("value", [0.0, 1e-40, 3e38])
def test_histograms_of_odd_tensors(value: float) -> None:
    sketcher = Sketcher()
    sketcher.add(np.full(5, value, np.float32))
    (found,) = activation_histograms({"t": params_for_range(U8, 0.0, value)}, {"t": sketcher.result()})
    assert sum(found.counts) == 5
    charts.bars(found)


def test_convergence_is_the_mean_share_of_the_final_width() -> None:
    sketches = {name: sketch_of(np.zeros(1, np.float32)) for name in ("a", "constant", "other")}
    widths = np.array([[1.0, 0.0, 6.0], [2.0, 0.0, 6.0], [6.0, 0.0, 6.0]])
    found = Statistics(sketches, (1, 2, 3), widths)
    assert [(c.samples, round(c.share, 3)) for c in found.of(["a", "constant"]).convergence] == [
        (1, 0.167),
        (2, 0.333),
        (3, 1.0),
    ]
    assert [c.share for c in found.of(["other"]).convergence] == [1.0] * 3
    assert found.of(["constant"]).convergence == Statistics({}).convergence == ()


def test_convergence_is_noted_after_powers_of_two_and_the_end(place: Place, cli: Cli) -> None:
    ran = cli(*place.convert("--samples", "11", "--no-evaluate", "--json"))
    steps = ran.json["calibration"]["convergence"]
    assert [step["samples"] for step in steps] == [1, 2, 4, 8, 11]
    assert steps[-1]["share"] == 1.0


def test_what_a_layer_loses() -> None:
    rows = layer_rows(rich_record())
    assert rows[0].lost_db is None
    assert [round(row.lost_db or 0.0, 1) for row in rows[1:9]] == [0.5] * 6 + [4.5, -3.5]
    bars = charts.losses(rows)
    assert max(bars, key=lambda bar: float(bar.height)).number == 8


def test_exact_sources_neither_lose_nor_stretch_the_axis() -> None:
    """An input with a code for each of its values stands at the top; what is computed from it is no loss of it."""
    record = rich_record()
    first, *rest = record.measurements.layers
    layers = (
        first.model_copy(update={"sqnr_db": 145.0}),
        *(layer.model_copy(update={"before": (first.tensor,)}) for layer in rest),
    )
    measured = record.measurements.model_copy(update={"layers": layers})
    rows = layer_rows(record.model_copy(update={"measurements": measured}))
    assert {row.lost_db for row in rows} == {None}
    curve = charts.sqnr_curve(rows)
    assert curve is not None
    assert curve.points[0].y == "0"
    assert max(float(tick.label.split()[0]) for tick in curve.ticks) < 100
    only = [replace(rows[0], number=n) for n in range(2)]  # all exact: an axis of their own
    assert charts.sqnr_curve(only) is not None


@given(st.lists(st.floats() | st.none(), max_size=8))
def test_coordinates_stay_in_the_picture(values: list[float | None]) -> None:
    rows = [charts.LayerRow(n, "t", "", "", value, None, None) for n, value in enumerate(values)]
    curve = charts.sqnr_curve(rows)
    for point in curve.points if curve else ():
        assert 0 <= float(point.x) <= 100
        assert 0 <= float(point.y) <= 100


@pytest.mark.parametrize(
    ("op", "name"),
    [("QLinearConv", "Conv"), ("FusedConv", "Conv"), ("ConvInteger", "Conv"), ("MatMulIntegerToFloat", "MatMul and Gemm"), ("DynamicQuantizeMatMul", "MatMul and Gemm"), ("QGemm", "MatMul and Gemm"), ("DynamicQuantizeLinear", "conversions"), ("ReorderInput", "conversions"), ("QLinearAdd", "Add"), ("Quick", "Quick"), ("Integer", "Integer")],
)  # fmt: skip
def test_families_of_kernels(op: str, name: str) -> None:
    assert family(op) == name


def test_words() -> None:
    assert [percent(v) for v in (0.5, 0.00002, 1e-9, 0.0, float("nan"))] == [
        "50.0 %",
        "0.002 %",
        "below 0.0001 %",
        "0.0 %",
        "nan %",
    ]
    assert [duration(v) for v in (12.34, 1234.0, 2.5e6, float("inf"))] == ["12.3 µs", "1.23 ms", "2.5 s", "inf µs"]
    assert [size(v) for v in (0, 1023, 1024, 3 << 20)] == ["0 B", "1023 B", "1.0 KiB", "3.0 MiB"]
    assert clean("a\x00b\r\nc\x9b") == "a\ufffdb\nc\ufffd"


def test_weights_are_shown_as_they_were_before_rounding(cli: Cli, place: Place) -> None:
    """With the error of what is stored, also where an algorithm has rounded them already."""
    ran = cli(*place.convert("-q", "--no-evaluate", "--set", "algorithms=[reconstruct]"))
    assert ran.code == 0
    record = RunRecord.model_validate_json(place.output.with_name("m.report.json").read_bytes())
    assert record.algorithms[0].kept
    weights = [h for h in record.histograms if h.kind == "weight"]
    assert {h.name for h in weights} >= {"w1", "w2"}
    assert all(20 < h.sqnr_db < 60 for h in weights)


def test_cells_of_a_confusion_matrix() -> None:
    examples = rich_record().measurements.examples
    assert examples is not None
    assert examples.confusion is not None
    first, second = charts.confusion_cells(examples.confusion)
    assert [(c.count, c.change, c.share, c.right) for c in first.cells] == [(86, -4, "86", True), (14, 4, "14", False)]
    assert second.label == 5
    assert charts.confusion_cells(examples.confusion.model_copy(update={"counts": ((1,),)})) == ()
    page = to_html(rich_record())
    assert '<td class="wrong" style="--share:14%">14<small> (+4)</small></td>' in page
    assert "&lt;dog&gt; (5)" in page
