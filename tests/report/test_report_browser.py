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


def test_the_console_check_sees_errors(tmp_path: Path) -> None:
    broken = to_html(rich_record()).replace("</body>", "<script>nowhere.at.all</script></body>")
    assert "nowhere" in opened(tmp_path, broken, 1280)[1]
