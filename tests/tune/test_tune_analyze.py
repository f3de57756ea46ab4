"""`qconvert analyze` on a model with one poisoned layer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml
from end_to_end_support import Cli
from tune_support import make_case

from qconvert.calibrate import params_for_range, sketch_of
from qconvert.optimize.sensitivity import Move, decibels
from qconvert.pipeline.analyze import rules_text
from qconvert.recipe.rules import matches
from qconvert.targets.formats import Format
from qconvert.tune.health import clipped, outliers, unused
from qconvert.tune.recipes import literal

U8 = Format("uint8", symmetric=False)


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Cli:
    return Cli(capsys)


def test_the_poisoned_tensor_is_the_worst_and_its_rules_help(cli: Cli, tmp_path: Path) -> None:
    model, recipe, data = make_case(tmp_path)
    ran = cli("analyze", model, "-r", recipe, "-d", data, "--json", "-o", tmp_path / "found.json")
    assert ran.code == 0, ran.err
    found = ran.json
    worst = found["tensors"][0]
    assert worst["tensor"] == "r1"
    assert worst["gain_db"] > 3
    assert worst["outliers"][0] == 0
    assert worst["measured_db"] == pytest.approx(worst["alone_db"], abs=6)
    assert found["predicted_db"] == pytest.approx(found["measured_db"], abs=6)
    assert {"poisoned", "reader"} & {found["layers"][0]["node"], found["layers"][1]["node"]}
    assert found["layers"][0]["saved_bytes"] > 0
    assert (tmp_path / "found.json").read_text() == ran.out
    _check_rules(cli, tmp_path, found, (model, recipe, data))


def _check_rules(cli: Cli, folder: Path, found: dict[str, object], case: tuple[Path, Path, Path]) -> None:
    model, recipe, data = case
    rules = yaml.safe_load(str(found["rules"]))["rules"]
    assert "poisoned" in rules[0]["match"]["name"]
    better = folder / "better.yaml"
    better.write_text(recipe.read_text() + str(found["rules"]))
    assert cli("recipe", "check", better, "-m", model).code == 0
    before, after = (cli("analyze", model, "-r", r, "-d", data, "--json").json["measured_db"] for r in (recipe, better))
    assert after > before + 3


def test_tables_and_rules_are_shown(cli: Cli, tmp_path: Path) -> None:
    model, recipe, data = make_case(tmp_path)
    ran = cli("analyze", model, "-r", recipe, "-d", data)
    assert ran.code == 0
    assert all(part in ran.out for part in ("layers, worst first", "tensors, worst first", "rules:", "keep: float"))


def test_a_spent_budget_says_what_was_left_out(cli: Cli, tmp_path: Path) -> None:
    model, recipe, data = make_case(tmp_path)
    ran = cli("analyze", model, "-r", recipe, "-d", data, "--budget", "0s", "--json")
    assert ran.code == 0
    assert ran.json["samples"] == 1
    assert any("budget" in line for line in ran.json["left_out"])
    assert ran.json["tensors"][0]["tensor"] == "r1"


def test_two_analyses_are_equal(cli: Cli, tmp_path: Path) -> None:
    model, recipe, data = make_case(tmp_path)
    first, second = (cli("analyze", model, "-r", recipe, "-d", data, "--json", "-q").out for _ in range(2))
    assert first == second


def test_data_and_times_are_asked_for(cli: Cli, tmp_path: Path) -> None:
    model, recipe, data = make_case(tmp_path)
    assert cli("analyze", model, "-r", recipe).code == 4
    assert cli("analyze", model, "-r", recipe, "-d", data, "--budget", "soon").code == 2
    assert cli("analyze", model, "-r", recipe, "-d", data, "-o", model).code == 7


def test_names_become_patterns_that_fit_nothing_else() -> None:
    for name in ("/layer[0]/Conv", "a*b?", "re:x", "plain"):
        assert matches(literal(name), name)
    assert not matches(literal("a*b"), "aXb")
    assert yaml.safe_load(rules_text([Move(kind="float", names=("no", "/a[1]"))])) == {
        "rules": [{"match": {"name": ["no", "/a[[]1]"]}, "set": {"keep": "float"}}]
    }


def test_clipping_and_unused_codes() -> None:
    values = np.concatenate([np.linspace(0, 1, 3000), np.full(30, 10.0)]).astype(np.float32)
    sketch = sketch_of(values)
    narrow, wide = params_for_range(U8, 0.0, 1.0), params_for_range(U8, 0.0, 10.0)
    assert clipped(sketch, narrow) == pytest.approx(30 / 3030, abs=0.002)
    assert clipped(sketch, wide) == 0
    assert unused(sketch, narrow) < 0.02
    assert unused(sketch, wide) > 0.85


def test_outlier_channels_are_ordered() -> None:
    assert outliers(np.array([1.0, 50.0, 1.2, 0.9, 9.0]))[0] == (1, 4)
    assert outliers(np.ones(8)) == ((), 1.0)


def test_no_noise_is_exact_and_not_a_large_number() -> None:
    assert decibels(0.0) == float("inf")
    assert decibels(1e-3) == pytest.approx(30.0)
