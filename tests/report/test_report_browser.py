"""The HTML report in a real browser: nothing overflows, the interactions work, the console stays silent."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import pytest
from report_records import rich_record

from qconvert.report import to_html
from qconvert.report.comparison import (
    Codes,
    Comparison,
    FigurePair,
    LayerPair,
    NodeChange,
    Setting,
    Side,
    TensorChange,
    WeightChange,
    comparison_html,
)
from qconvert.report.evaluation import EvaluatedModel, Evaluation, EvaluationData, evaluation_html

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)

pytestmark = pytest.mark.skipif(
    BROWSER is None, reason="no Chromium or Chrome is installed (Debian: `apt install chromium`)"
)

# Runs in a page that holds the report in a frame of the same origin.
SCRIPT = """
const frame = document.querySelector("iframe");
frame.addEventListener("load", () => {
  const doc = frame.contentDocument, found = {};
  const at = (target, kind, x) => {
    const box = target.querySelector("svg").getBoundingClientRect();
    target.dispatchEvent(new frame.contentWindow.PointerEvent(kind, { bubbles: true, clientX: box.left + box.width * x, clientY: box.top + 5 }));
  };
  found.wide = doc.documentElement.scrollWidth - doc.documentElement.clientWidth;
  found.sticking = [...doc.querySelectorAll("main *, header *")]
    .filter((e) => !e.closest(".scroll, svg, pre, .tick, .cells, details:not([open])"))
    .filter((e) => e.getBoundingClientRect().right > doc.documentElement.clientWidth + 1).map((e) => e.outerHTML.slice(0, 80));
  const graph = doc.querySelector("[data-rows]"), tip = doc.getElementById("tip"), table = doc.getElementById("layer-table");
  found.before = [tip.hidden, table.open];
  at(graph, "pointermove", 0.19);
  found.tip = tip.hidden ? null : tip.textContent;
  at(graph, "click", 0.19);
  found.after = [tip.hidden, table.open, doc.querySelector("tr.hit").id];
  graph.dispatchEvent(new frame.contentWindow.KeyboardEvent("keydown", { key: "ArrowRight", bubbles: true }));
  found.next = tip.textContent;
  const filter = table.querySelector(".filter");
  filter.value = "STAGE12/";
  filter.dispatchEvent(new frame.contentWindow.Event("input"));
  found.filtered = [...table.querySelectorAll("tbody tr")].filter((row) => !row.hidden).map((row) => row.id);
  const head = table.querySelectorAll("th")[3];
  head.click();
  found.worst = table.querySelector("tbody tr").id;
  head.click();
  found.best = table.querySelector("tbody tr").id;
  const cell = doc.querySelector("[data-tip]");
  cell.dispatchEvent(new frame.contentWindow.PointerEvent("pointerenter"));
  found.strip = tip.textContent;
  frame.contentWindow.dispatchEvent(new frame.contentWindow.Event("beforeprint"));
  found.closed = doc.querySelectorAll("details:not([open])").length;
  document.body.textContent = "";
  document.title = JSON.stringify(found);
});
"""


def opened(folder: Path, text: str, width: int, script: str = SCRIPT) -> tuple[dict[str, Any], str]:
    """What a script found in a frame of this width, and what the browser logged on its console."""
    page = folder / "page.html"
    frame = f'<iframe style="border:0;width:{width}px;height:900px" srcdoc="{html.escape(text)}"></iframe>'
    page.write_text(f"<!DOCTYPE html><title></title><body>{frame}<script>{script}</script>", encoding="utf-8")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        flags = (
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-background-networking",
            f"--user-data-dir={profile}",
            f"--window-size={width + 40},1000",
            "--enable-logging=stderr",
            "--virtual-time-budget=3000",
            "--dump-dom",
        )
        done = subprocess.run(
            [str(BROWSER), *flags, page.as_uri()], capture_output=True, text=True, timeout=120, check=True
        )
    title = re.search("<title>(.*?)</title>", done.stdout, re.DOTALL)
    assert title, done.stdout
    assert title[1], done.stderr
    return json.loads(html.unescape(title[1])), "\n".join(
        line for line in done.stderr.splitlines() if "CONSOLE" in line
    )


@pytest.mark.parametrize("width", [400, 1280])
def test_the_report_in_a_browser(tmp_path: Path, width: int) -> None:
    found, console = opened(tmp_path, to_html(rich_record()), width)
    assert console == ""
    assert found["wide"] <= 0
    assert found["sticking"] == []
    assert found["before"] == [True, False]
    assert found["tip"].startswith("stage7/<conv>/output\nConv · 37.5 dB · lost here 4.5 dB")
    assert found["after"] == [True, True, "layer-8"]
    assert found["next"].startswith("stage8/<conv>/output")
    assert found["filtered"] == ["layer-13"]
    assert (found["worst"], found["best"]) == ("layer-40", "layer-1")
    assert found["strip"] == "n0 (Softmax): float, no integer kernel for `Softmax`"
    assert found["closed"] == 0


LOOK = """
const frame = document.querySelector("iframe");
frame.addEventListener("load", () => {
  const doc = frame.contentDocument, win = frame.contentWindow, found = {};
  found.wide = doc.documentElement.scrollWidth - doc.documentElement.clientWidth;
  found.sticking = [...doc.querySelectorAll("main *, header *")]
    .filter((e) => !e.closest(".scroll, svg, pre, .tick, .cells, details:not([open])"))
    .filter((e) => e.getBoundingClientRect().right > doc.documentElement.clientWidth + 1).map((e) => e.outerHTML.slice(0, 80));
  const dot = doc.querySelector("path[data-tip]");
  if (dot) dot.dispatchEvent(new win.PointerEvent("pointerenter"));
  found.tip = doc.getElementById("tip").textContent;
  const head = doc.querySelector("table.sortable th");
  if (head) head.click();
  found.sorted = head ? head.getAttribute("aria-sort") : null;
  document.body.textContent = "";
  document.title = JSON.stringify(found);
});
"""


def both_pages() -> dict[str, str]:
    """An evaluation of two models and a comparison of two runs, with something in every part."""
    measured = rich_record().measurements
    names = ("models/a/model.onnx", "models/b/a-rather-long-name-of-a-model.int8.onnx")
    models = tuple(
        EvaluatedModel(name=name, runtime="onnxruntime", bytes=4000 - n, fidelity=measured.fidelity if n else None, metrics=measured.metrics, latency=measured.latency, examples=measured.examples if n else None)
        for n, name in enumerate(names)
    )  # fmt: skip
    data = EvaluationData(folder="data", samples=200, labelled=True, digest="0")
    evaluation = Evaluation(
        tool_version="0", status="done", reference=0, models=models, data=data, gates=rich_record().gates
    )
    sides = [
        Side(name=name, what="run record", bytes=100, nodes=3, integer=2, float_=1, quantized_tensors=2)
        for name in names
    ]
    comparison = Comparison(
        tool_version="0",
        status="gates failed",
        a=sides[0],
        b=sides[1],
        figures=(FigurePair(name="sqnr", unit="db", a=30.0, b=28.5, change="-1.5 dB"),),
        nodes=(NodeChange(node="stage1/<conv>", op="Conv", a="integer", b="float", why="no profit"),),
        tensors=(TensorChange(tensor="t", a=Codes(format="uint8", scale=0.1, zero_point=3), b=None),),
        weights=(WeightChange(weight="w", a="float32", b="int8, 16 scales", sqnr_db=41.0),),
        layers=tuple(LayerPair(tensor=f"t{n}", op="Conv", a=40.0 - n, b=38.0 - n) for n in range(20)),
        settings=(Setting(key="calibration.method", a="mse", b="percentile"),),
    )
    return {"evaluation": evaluation_html(evaluation), "comparison": comparison_html(comparison)}


@pytest.mark.parametrize("width", [400, 1280])
@pytest.mark.parametrize("name", ["evaluation", "comparison"])
def test_the_other_pages_in_a_browser(tmp_path: Path, name: str, width: int) -> None:
    found, console = opened(tmp_path, both_pages()[name], width, LOOK)
    assert console == ""
    assert found["wide"] <= 0
    assert found["sticking"] == []
    assert found["sorted"] == "ascending"
    assert found["tip"].startswith("t0\nConv") == (name == "comparison")


def test_the_console_check_sees_errors(tmp_path: Path) -> None:
    broken = to_html(rich_record()).replace("</body>", "<script>nowhere.at.all</script></body>")
    assert "nowhere" in opened(tmp_path, broken, 1280)[1]
