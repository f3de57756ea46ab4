"""The reference pages say what the code says."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

from qconvert.optimize import ALGORITHMS
from qconvert.pipeline.drafting.accuracy import steps_of
from qconvert.pipeline.words import vocabulary
from qconvert.recipe import Recipe

DOCS = Path(__file__).resolve().parents[2] / "docs"
_SPEC = importlib.util.spec_from_file_location("reference", DOCS / "reference.py")
assert _SPEC is not None
reference = importlib.util.module_from_spec(_SPEC)
assert _SPEC.loader is not None
_SPEC.loader.exec_module(reference)
PAGES = reference.pages()


@pytest.mark.parametrize("name", PAGES)
def test_page_is_current(name: str) -> None:
    assert (DOCS / "reference" / name).read_text(encoding="utf-8") == PAGES[name], "run `make docs`"


def test_no_page_is_left_over() -> None:
    assert {path.name for path in (DOCS / "reference").iterdir()} == set(PAGES)


def test_readme_says_which_algorithms_run_by_themselves() -> None:
    section = (DOCS.parent / "README.md").read_text(encoding="utf-8").split("\n## Accuracy\n")[1].split("\n## ")[0]
    tables = section.split("| algorithm |")[1:]
    auto, named = (re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE) for table in tables)
    assert auto == [step.name for step in steps_of(Recipe(), vocabulary(), None)]  # type: ignore[arg-type]
    assert {*auto, *named} == set(ALGORITHMS)
    assert len({*auto, *named}) == len(auto) + len(named)
