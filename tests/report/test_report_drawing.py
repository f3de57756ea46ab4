"""Graphs as pictures: the layout as such, and the page that is made of it."""

from __future__ import annotations

import json
import re
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
import pytest
from end_to_end_support import SAMPLES, Cli, Place, conv_model, model
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper
from report_records import TEXT
from test_report_browser import BROWSER, opened
from test_report_formats import check_html

from qconvert.report.drawing import Box, Line, Picture, to_page
from qconvert.report.layout import BOX, ROW, Layout, layered

RESNET = SAMPLES / "digits_resnet" / "digits_resnet.onnx"


@st.composite
def graphs(draw: st.DrawFn) -> tuple[list[int], list[tuple[int, int]]]:
    """Widths and edges of any acyclic graph."""
    count = draw(st.integers(0, 40))
    widths = draw(st.lists(st.integers(20, 300), min_size=count, max_size=count))
    pairs = st.tuples(st.integers(0, max(count - 1, 0)), st.integers(0, max(count - 1, 0)))
    edges = [(min(a, b), max(a, b)) for a, b in draw(st.lists(pairs, max_size=80)) if a != b] if count else []
    return widths, edges


@settings(deadline=None, max_examples=60)
@given(graphs(), st.floats(0.3, 4))
def test_boxes_never_overlap_and_stay_on_the_page(
    graph: tuple[list[int], list[tuple[int, int]]], aspect: float
) -> None:
    widths, edges = graph
    found = layered(widths, edges, aspect)
    rows: dict[int, list[tuple[float, float]]] = {}
    for (x, y), width in zip(found.places, widths, strict=True):
        rows.setdefault(y, []).append((x - width / 2, x + width / 2))
        assert x - width / 2 >= -1
        assert x + width / 2 <= found.width + 1
        assert BOX / 2 <= y <= found.height - BOX / 2
    assert all((b - a) % ROW == 0 for a, b in pairwise(sorted(rows)))
    for spans in rows.values():
        assert all(right < left for (_, right), (left, _) in pairwise(sorted(spans)))
    assert len(found.paths) == len(edges)


def ends(path: str) -> tuple[tuple[int, int], tuple[int, int]]:
    """Where a path begins and ends; absolute commands only."""
    x = y = 0
    points = []
    for command, numbers in re.findall(r"([MCHV])([-0-9 ]+)", path):
        values = [int(n) for n in numbers.split()]
        x, y = {"H": (values[0], y), "V": (x, values[0])}.get(command) or (values[-2], values[-1])
        points.append((x, y))
    return points[0], points[-1]


@settings(deadline=None, max_examples=60)
@given(graphs())
def test_every_line_leads_from_its_start_to_its_end(graph: tuple[list[int], list[tuple[int, int]]]) -> None:
    widths, edges = graph
    found = layered(widths, edges)
    for number, ((a, b), path) in enumerate(zip(edges, found.paths, strict=True)):
        (ax, ay), (bx, by) = found.places[a], found.places[b]
        if number not in found.jumps:
            assert ends(path) == ((ax, ay + BOX // 2), (bx, by - BOX // 2))


def test_a_tree_has_no_crossings_and_a_chain_is_straight() -> None:
    chain = layered([60] * 8, list(pairwise(range(8))))
    assert len({x for x, _ in chain.places}) == 1
    tree = layered([60] * 7, [(0, 1), (0, 2), (1, 5), (1, 6), (2, 3), (2, 4)])
    bottom = sorted(range(3, 7), key=lambda n: tree.places[n][0])
    assert {frozenset(bottom[:2]), frozenset(bottom[2:])} == {frozenset({3, 4}), frozenset({5, 6})}


def test_a_long_graph_is_folded_and_far_lines_are_cut() -> None:
    count = 1200
    chain = list(pairwise(range(count)))
    found = layered([80] * count, chain)
    assert 0.8 < found.width / found.height < 3
    assert not found.jumps
    far = [(n, count - 1) for n in range(0, 300)]
    crowded: Layout = layered([80] * count, [*chain, *far])
    assert crowded.jumps
    assert len(crowded.jumps) < len(far) + 300


PICTURES = st.lists(st.builds(Box, TEXT, TEXT, TEXT, TEXT, TEXT, st.lists(TEXT, max_size=3).map(tuple)), max_size=5).flatmap(
    lambda boxes: st.builds(
        Picture,
        TEXT,
        TEXT,
        TEXT,
        st.just(tuple(boxes)),
        st.lists(st.builds(Line, st.just(0), st.just(max(len(boxes) - 1, 0)), TEXT), max_size=3 if len(boxes) > 1 else 0).map(tuple),
    )
)  # fmt: skip


@settings(deadline=None, max_examples=40)
@given(PICTURES)
def test_any_picture_is_a_valid_page(picture: Picture) -> None:
    check_html(to_page(picture))


def data_of(page: str) -> dict[str, list[list[object]]]:
    found = re.search(r"const DATA = (\{.*\});", page)
    assert found
    return json.loads(found[1])  # type: ignore[no-any-return]


def test_inspect_draws_what_is_planned(cli: Cli, tmp_path: Path) -> None:
    ran = cli("inspect", RESNET, "--html", tmp_path / "new" / "g.html")
    assert (ran.code, ran.out) == (0, f"wrote {tmp_path / 'new' / 'g.html'}\n")
    page = (tmp_path / "new" / "g.html").read_text(encoding="utf-8")
    check_html(page)
    data = data_of(page)
    names = {str(node[0]): data["labels"][int(str(node[3]))] for node in data["nodes"]}
    assert names["stage1_1_1_conv"] == "integer"
    assert names["image"] == names["logits"] == "input or output"
    assert len(page.encode()) < 200_000
    other = cli("inspect", RESNET, "-t", "tensorrt", "--html", tmp_path / "t.html")
    assert (other.code, "tensorrt, planned" in (tmp_path / "t.html").read_text(encoding="utf-8")) == (0, True)


def test_inspect_draws_what_a_quantized_model_runs(cli: Cli, place: Place) -> None:
    assert cli(*place.convert("-q", "--no-evaluate")).code == 0
    assert cli("inspect", place.output, "--html", place.root / "q.html").code == 0
    data = data_of((place.root / "q.html").read_text(encoding="utf-8"))
    kinds = {node[0]: data["labels"][int(str(node[3]))] for node in data["nodes"]}
    assert kinds["conv2"] == "integer"
    assert not {"QuantizeLinear", "DequantizeLinear"} & {node[1] for node in data["nodes"]}
    assert any("runs as QLinearConv" in node[7] for node in data["nodes"])  # type: ignore[operator]


def test_inspect_draws_tflite(cli: Cli, place: Place) -> None:
    path = place.root / "out" / "m.tflite"
    assert cli(*place.convert("-q", "--no-evaluate", "-t", "tflite-micro", output=path)).code == 0
    assert cli("inspect", path, "--html", place.root / "t.html").code == 0
    data = data_of((place.root / "t.html").read_text(encoding="utf-8"))
    convolutions = [node for node in data["nodes"] if node[1] == "CONV_2D"]
    assert len(convolutions) == 2
    assert {data["labels"][int(str(node[3]))] for node in convolutions} == {"integer"}


def test_what_a_target_refuses_is_drawn_with_the_reason(cli: Cli, place: Place) -> None:
    odd = place.save(model([helper.make_node("Det", ["x"], ["y"], name="d")], {"x": ["n", 3, 3]}, {"y": ["n"]}))
    assert cli("inspect", odd, "-t", "tflite-micro", "--html", place.root / "g.html").code == 0
    page = (place.root / "g.html").read_text(encoding="utf-8")
    assert "tflite-micro does not take this model" in page
    assert [node[1] for node in data_of(page)["nodes"]] == ["x", "Det", "y"]


def test_usage(cli: Cli, place: Place) -> None:
    assert cli("inspect", place.model, "-t", "x86-vnni").code == 2
    assert cli("inspect", place.model, "--json", "--html", "g.html").code == 2
    assert cli("inspect", place.model, "-t", "nope", "--html", place.root / "g.html").code == 2
    assert cli("inspect", place.model, "--html", place.model).code == 7
    assert cli("inspect", place.root / "none.onnx", "--html", place.root / "g.html").code == 3


# Runs in a page that holds the drawing in a frame of the same origin.
SCRIPT = """
const frame = document.querySelector("iframe");
frame.addEventListener("load", () => {
  const doc = frame.contentDocument, win = frame.contentWindow, found = {};
  const svg = doc.getElementById("graph"), about = doc.getElementById("about"), find = doc.getElementById("find");
  const key = (name, target = svg) => target.dispatchEvent(new win.KeyboardEvent("keydown", { key: name, bubbles: true, cancelable: true }));
  const scale = () => Number(/scale\\(([^)]+)\\)/.exec(svg.firstChild.getAttribute("transform"))[1]);
  found.wide = doc.documentElement.scrollWidth - doc.documentElement.clientWidth;
  found.nodes = doc.querySelectorAll("#graph .node").length;
  const box = svg.getBoundingClientRect();
  found.outside = [...doc.querySelectorAll("#graph .node")].filter((n) => {
    const b = n.getBoundingClientRect();
    return b.left < box.left || b.right > box.right || b.top < box.top || b.bottom > box.bottom;
  }).length;
  key("ArrowDown");
  key("ArrowDown");
  found.second = about.hidden ? null : about.querySelector("h2").textContent;
  about.querySelectorAll("li button")[1].click();
  found.third = about.querySelector("h2").textContent;
  key("Escape");
  found.closed = about.hidden;
  const before = scale();
  key("+");
  found.zoomed = scale() > before;
  key("0");
  found.fitted = Math.abs(scale() - before) < 1e-9;
  find.value = "relu";
  find.dispatchEvent(new win.Event("input"));
  found.hits = doc.getElementById("hits").textContent;
  found.dim = doc.querySelectorAll("#graph .dim").length;
  key("Enter", find);
  found.hit = about.querySelector("h2").textContent;
  find.value = "";
  find.dispatchEvent(new win.Event("input"));
  const pick = doc.querySelector(".pick");
  pick.click();
  found.pressed = pick.getAttribute("aria-pressed");
  found.shown = found.nodes - doc.querySelectorAll("#graph .dim").length;
  pick.click();
  const node = doc.querySelector('#graph [data-n="0"]');
  node.dispatchEvent(new win.PointerEvent("pointermove", { bubbles: true, clientX: 50, clientY: 60 }));
  found.tip = doc.getElementById("tip").textContent;
  const list = doc.getElementById("list");
  list.open = true;
  list.dispatchEvent(new win.Event("toggle"));
  found.rows = list.querySelectorAll("tbody tr").length;
  document.body.textContent = "";
  document.title = JSON.stringify(found);
});
"""


@pytest.mark.skipif(BROWSER is None, reason="no Chromium or Chrome is installed (Debian: `apt install chromium`)")
@pytest.mark.parametrize("width", [400, 1280])
def test_the_drawing_in_a_browser(cli: Cli, tmp_path: Path, width: int) -> None:
    onnx.save(conv_model(), tmp_path / "m.onnx")
    assert cli("inspect", tmp_path / "m.onnx", "-t", "tensorrt", "--html", tmp_path / "g.html").code == 0
    page = (tmp_path / "g.html").read_text(encoding="utf-8")
    found, console = opened(tmp_path, page, width, SCRIPT)
    assert console == ""
    assert found["wide"] <= 0
    assert (found["nodes"], found["outside"]) == (9, 0)
    assert (found["second"], found["third"], found["closed"]) == ("Conv", "Relu", True)
    assert found["zoomed"]
    assert found["fitted"]
    assert (found["hits"], found["hit"]) == ("2 found", "Relu")
    assert found["dim"] == 7
    assert (found["pressed"], found["shown"] < 9) == ("true", True)
    assert found["tip"].startswith("x ")
    assert found["rows"] == 9


def test_three_thousand_nodes(cli: Cli, tmp_path: Path) -> None:
    """Blocks of three branches with a skip, a thousand of them; the page opens with all of them."""
    rng = np.random.default_rng(0)
    nodes, last = [], "x"
    for n in range(750):
        nodes += [
            helper.make_node("Relu", [last], [f"a{n}"], name=f"block{n}/branch/relu"),
            helper.make_node("Sigmoid", [last], [f"b{n}"], name=f"block{n}/gate/sigmoid"),
            helper.make_node("Mul", [f"a{n}", f"b{n}"], [f"m{n}"], name=f"block{n}/gate/mul"),
            helper.make_node(
                "Add", [f"m{n}", f"s{int(rng.integers(n))}" if n > 4 else last], [f"s{n}"], name=f"block{n}/sum"
            ),
        ]
        last = f"s{n}"
    onnx.save(model(nodes, {"x": [1, 8]}, {last: [1, 8]}), tmp_path / "m.onnx")
    assert cli("inspect", tmp_path / "m.onnx", "--html", tmp_path / "g.html").code == 0
    page = (tmp_path / "g.html").read_text(encoding="utf-8")
    assert len(data_of(page)["nodes"]) > 2900
    assert len(page.encode()) < 2_000_000
    if BROWSER is not None:
        script = (
            SCRIPT.split("key(", maxsplit=1)[0]
            + 'document.body.textContent = ""; document.title = JSON.stringify(found); });'
        )
        found, console = opened(tmp_path, page, 1280, script.replace("const key = (name", "const unused = (name"))
        assert (console, found["nodes"] > 2900) == ("", True)
