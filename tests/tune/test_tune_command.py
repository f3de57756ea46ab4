"""`qconvert tune` from end to end on a model with one poisoned layer."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import numpy as np
import onnx
import pytest
from end_to_end_support import Cli, hashes, strict_json
from tune_support import make_case

from qconvert.pipeline import tune as pipeline_tune


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Cli:
    return Cli(capsys)


def test_the_goal_is_reached_and_the_recipe_replays(cli: Cli, tmp_path: Path) -> None:
    model, recipe, data = make_case(tmp_path)
    out = tmp_path / "out"
    ran = cli("tune", model, "-r", recipe, "-d", data, "--min-sqnr", 35, "-o", out / "m.onnx")
    assert ran.code == 0, ran.err + ran.out
    assert "poisoned" in ran.out
    assert "changed, and why" in ran.out
    assert sorted(p.name for p in out.iterdir()) == [
        "m.onnx",
        "m.recipe.yaml",
        "m.report.json",
        "m.tune.html",
        "m.tune.json",
    ]
    found = strict_json((out / "m.tune.json").read_text())
    assert found["reached"]
    assert found["trials"][0]["outcome"]["sqnr_db"] < 35 <= found["trials"][found["winner"]]["outcome"]["sqnr_db"]
    assert found["winner"] in found["pareto"]
    assert "<svg" in (out / "m.tune.html").read_text()
    told = {problem["code"] for problem in strict_json((out / "m.report.json").read_text())["diagnostics"]}
    assert {"O101", "O102"} <= told, "what the search has computed is not computed again"
    assert cli("recipe", "check", out / "m.recipe.yaml", "-m", model).code == 0
    replayed = cli("convert", model, "-r", out / "m.recipe.yaml", "-d", data, "-o", tmp_path / "again.onnx")
    assert replayed.code == 0
    assert (tmp_path / "again.onnx").read_bytes() == (out / "m.onnx").read_bytes()


def test_two_runs_give_the_same_bytes(cli: Cli, tmp_path: Path) -> None:
    model, recipe, data = make_case(tmp_path)
    for name in ("a", "b"):
        assert cli("tune", model, "-r", recipe, "-d", data, "--max-drop", "10%", "-o", tmp_path / name, "-q").code == 0
    first, second = (hashes(tmp_path / name) for name in ("a", "b"))
    for file in ("model.onnx", "model.recipe.yaml"):
        assert first[file] == second[file]


def test_an_unreachable_goal_writes_the_best_as_rejected(cli: Cli, tmp_path: Path) -> None:
    model, recipe, data = make_case(tmp_path)
    ran = cli(
        "tune", model, "-r", recipe, "-d", data, "--min-sqnr", 300, "--time", "0s", "-o", tmp_path / "out", "--json"
    )
    assert ran.code == 5
    assert not ran.json["reached"]
    assert "output SQNR" in ran.err
    assert (tmp_path / "out" / "model.rejected.onnx").exists()
    assert not (tmp_path / "out" / "model.onnx").exists()


def test_a_cache_serves_searches_and_analyses(cli: Cli, tmp_path: Path) -> None:
    model, recipe, data = make_case(tmp_path)
    given = ("-r", recipe, "-d", data, "--cache", tmp_path / "cache")
    searched = [cli("tune", model, *given, "--min-sqnr", 5, "-o", tmp_path / name, "-q").code for name in "ab"]
    assert searched == [0, 0]
    first, second = (hashes(tmp_path / name)["model.onnx"] for name in "ab")
    assert first == second
    before = {path.name for path in (tmp_path / "cache").rglob("*")}
    assert cli("analyze", model, *given, "-q").code == 0
    assert {path.name for path in (tmp_path / "cache").rglob("*")} == before


def test_a_search_that_ran_out_of_time_goes_on(cli: Cli, tmp_path: Path) -> None:
    model, recipe, data = make_case(tmp_path)
    arguments = ("tune", model, "-r", recipe, "-d", data, "--min-sqnr", 35, "-o", tmp_path / "out")
    ran = cli(*arguments, "--time", "0s")
    assert (ran.code, "`--resume` goes on" in ran.err) == (5, True), ran
    assert (tmp_path / "out" / "model.tune-state.json").exists()
    ran = cli(*arguments, "--resume")
    assert (ran.code, "resumed with 1 recipes" in ran.err) == (0, True), ran
    assert not (tmp_path / "out" / "model.tune-state.json").exists(), "nothing is left to go on with"


@pytest.mark.parametrize(
    ("goal", "says"),
    [
        (("--max-drop", "5"), "`--max-drop 5%`"),
        (("--max-drop", "500%"), "at most 100%"),
        (("--max-drop", "-0.5%"), "not negative"),
        (("--min-speedup", "0"), "positive"),
        (("--min-speedup", "-1"), "positive"),
        (("--min-sqnr", "nan"), "a number"),
    ],
)
def test_goals_that_cannot_be_meant_are_refused(cli: Cli, tmp_path: Path, goal: tuple[str, str], says: str) -> None:
    ran = cli("tune", tmp_path / "m.onnx", "-t", "x86-vnni", "-d", tmp_path, *goal, "-o", tmp_path / "out")
    assert (ran.code, "R011" in ran.err, says in ran.err) == (2, True, True), ran


def test_without_an_evaluation_part_other_rows_judge(cli: Cli, tmp_path: Path) -> None:
    model, recipe, data = make_case(tmp_path, ())
    ran = cli("tune", model, "-r", recipe, "-d", data, "--min-sqnr", 5, "-o", tmp_path / "out")
    assert ran.code == 0, ran.err
    assert "12 of its rows calibrate, 4 others judge" in ran.err
    report = json.loads((tmp_path / "out" / "model.report.json").read_text())
    assert report["data"]["evaluated_on"] == "evaluation"
    assert report["data"]["calibration_samples"] == 12
    cli("convert", model, "-r", tmp_path / "out" / "model.recipe.yaml", "-d", data, "-o", tmp_path / "again.onnx", "-q")
    assert (tmp_path / "again.onnx").read_bytes() == (tmp_path / "out" / "model.onnx").read_bytes()


@pytest.mark.parametrize("quiet", [(), ("-q",)])
def test_an_interrupted_search_is_resumed(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quiet: tuple[str, ...]
) -> None:
    model, recipe, data = make_case(tmp_path)
    arguments = ("tune", model, "-r", recipe, "-d", data, "--min-sqnr", 35, "-o", tmp_path / "out")
    measured = pipeline_tune._Tuning._measured
    calls: list[int] = []

    def stopping(self, built):  # type: ignore[no-untyped-def]
        calls.append(1)
        if len(calls) == 2:
            signal.raise_signal(signal.SIGINT)
        return measured(self, built)

    monkeypatch.setattr(pipeline_tune._Tuning, "_measured", stopping)
    stopped = cli(*arguments, *quiet)
    assert (stopped.code, "`--resume` goes on" in stopped.err) == (130, True)
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["model.tune-state.json"]
    ran = cli(*arguments, "--resume")
    assert ran.code == 0
    assert "resumed with 1 recipes" in ran.err
    straight = tmp_path / "straight"
    assert cli(*arguments[:-1], straight).code == 0
    for file in ("model.onnx", "model.recipe.yaml"):
        assert (tmp_path / "out" / file).read_bytes() == (straight / file).read_bytes()


def test_a_state_of_another_goal_is_not_used(cli: Cli, tmp_path: Path) -> None:
    model, recipe, data = make_case(tmp_path)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "model.tune-state.json").write_text('{"key": "other"}')
    ran = cli("tune", model, "-r", recipe, "-d", data, "--min-sqnr", 5, "-o", tmp_path / "out", "--resume")
    assert ran.code == 0
    assert "nothing to resume: it belongs to another" in ran.err


def test_a_goal_must_be_given_and_measurable(cli: Cli, tmp_path: Path) -> None:
    model, recipe, data = make_case(tmp_path)
    assert cli("tune", model, "-r", recipe, "-d", data, "-o", tmp_path / "out").code == 2
    assert cli("tune", model, "-r", recipe, "-d", data, "--max-drop", "much", "-o", tmp_path / "out").code == 2
    assert not (tmp_path / "out").exists()


def test_functions_of_the_recipe_are_found_from_the_new_place(cli: Cli, tmp_path: Path) -> None:
    model, recipe, data = make_case(tmp_path)
    (tmp_path / "prepare.py").write_text(
        "import numpy as np\n\ndef prepare(path):\n    return {'x': np.load(path)['x'][0]}\n"
    )
    recipe.write_text(recipe.read_text() + "dataset: {prepare: 'prepare.py:prepare'}\n")
    for part in ("calib", "eval"):
        rows = np.load(data / part / "samples.npz")["x"]
        (data / part / "samples.npz").unlink()
        for i, row in enumerate(rows):
            np.savez(data / part / f"{i:02}.npz", x=row[None])
    ran = cli("tune", model, "-r", recipe, "-d", data, "--min-sqnr", 5, "-o", tmp_path / "deep" / "out")
    assert ran.code == 0, ran.err
    assert "../../prepare.py:prepare" in (tmp_path / "deep" / "out" / "model.recipe.yaml").read_text()
    assert onnx.load(tmp_path / "deep" / "out" / "model.onnx").graph.node
