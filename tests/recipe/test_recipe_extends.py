"""Recipes on top of others, presets, and values from the command line."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from qconvert.errors import QConvertError, Severity
from qconvert.recipe import Change, Match, Recipe, Rule, Vocabulary, load_recipe, override, preset, read_recipe

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes files given as name=text (`__` is a folder) and returns the folder."""

    def write(**files: str) -> Path:
        for name, text in files.items():
            path = tmp_path / f"{name.replace('__', '/')}.yaml"
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
        return tmp_path

    return write


def problems(call: Callable[[], object], folder: Path) -> list[tuple[str, str, str]]:
    with pytest.raises(QConvertError) as caught:
        call()
    return [
        (d.code, (d.where or "").replace(f"{folder}/", ""), d.message.replace(f"{folder}/", ""))
        for d in caught.value.diagnostics
    ]


def test_a_child_overrides_key_by_key_and_adds_rules(write: Write, vocabulary: Vocabulary, presets: Path) -> None:
    folder = write(
        base="extends: arm-neon\ndataset: {samples: 10, seed: 3}\nreport: [html, md]\nrules: [{match: {op: Conv}, set: {bits: 8}}]",
        sub__middle="extends: ../base.yaml\ndataset: {samples: 20}\nreport: [md]\ngates: {sqnr: 3}",
        child="extends: sub/middle.yaml\nrules: [{match: {op: Gemm}, set: {keep: float}}]\ngates: {sqnr: null}\ncalibration:\ndataset:",
    )
    loaded = read_recipe(folder / "child.yaml", vocabulary, presets)
    assert loaded.recipe == Recipe.model_validate(
        {
            "target": "arm-neon",
            "dataset": {"samples": 20, "seed": 3},
            "report": ("md",),
            "rules": (
                Rule(match=Match(op="Conv"), set=Change(bits=8)),
                Rule(match=Match(op="Gemm"), set=Change(keep="float")),
            ),
        }
    )
    assert loaded.source.where(("rules", 0)) == f"{folder}/sub/../base.yaml:4:9"
    assert loaded.source.where(("rules", 1)) == f"{folder}/child.yaml:2:9"


def test_a_mistake_names_the_file_it_is_in(write: Write, vocabulary: Vocabulary, presets: Path) -> None:
    folder = write(
        base="dataset: {samples: x, sed: 1}\nrules:\n  - {match: {op: 3}, set: {bits: 8}}",
        child="extends: base.yaml\nrules: [{match: {op: Conv}}]\nmode: 1",
    )
    found = problems(lambda: load_recipe(folder / "child.yaml", vocabulary, presets), folder)
    assert [(code, where) for code, where, _ in found] == [
        ("R006", "child.yaml:2:9"),
        ("R005", "child.yaml:3:7"),
        ("R005", "base.yaml:1:20"),
        ("R003", "base.yaml:1:23"),
        ("R005", "base.yaml:3:18"),
    ]


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (
            {"a": "extends: a.yaml"},
            [("R008", "a.yaml:1:10", "recipes extend each other in a circle: a.yaml -> a.yaml")],
        ),
        (
            {"a": "\nextends: b.yaml\nmode: x", "b": "extends: a.yaml"},
            [
                (
                    "R005",
                    "a.yaml:3:7",
                    "`mode` must be one of `auto`, `static`, `dynamic`, `weight-only`, `codebook`, `float8`, `float16`, `bfloat16`, not text: x",
                ),
                ("R008", "b.yaml:1:10", "recipes extend each other in a circle: a.yaml -> b.yaml -> a.yaml"),
            ],
        ),
        ({"a": "extends: c.yaml"}, [("R008", "a.yaml:1:10", "`extends` names no such file: c.yaml")]),
        ({"a": "extends: arm"}, [("R008", "a.yaml:1:10", "`extends` names neither a preset nor a file: arm")]),
        ({"a": "extends: ''"}, [("R008", "a.yaml:1:10", "`extends` names neither a preset nor a file: ")]),
        ({"a": "extends: [b]"}, [("R005", "a.yaml:1:10", "`extends` must be text, not a list of 1")]),
        (
            {"a": "extends: b.yaml", "b": "x: ["},
            [("R002", "b.yaml:1:5", "a value is missing here")],
        ),
        (
            {"a": "extends: b.yaml", "b": "- x"},
            [("R005", "b.yaml:1:1", "a recipe must be a mapping of keys to values, not a list")],
        ),
    ],
)
def test_extends_that_cannot_be_followed(
    write: Write, vocabulary: Vocabulary, presets: Path, files: Mapping[str, str], expected: list[tuple[str, str, str]]
) -> None:
    folder = write(**files)
    assert problems(lambda: load_recipe(folder / "a.yaml", vocabulary, presets), folder) == expected


def test_a_wrong_name_is_answered_with_the_nearest(write: Write, vocabulary: Vocabulary, presets: Path) -> None:
    folder = write(a="extends: x86-vnn", b="extends: bse.yaml", base="")
    for name, near in (("a", "x86-vnni"), ("b", "base.yaml")):
        with pytest.raises(QConvertError, match=f"did you mean `{near}`"):
            load_recipe(folder / f"{name}.yaml", vocabulary, presets)


def test_presets_are_the_defaults_for_their_target(vocabulary: Vocabulary, presets: Path) -> None:
    for target in vocabulary.targets:
        assert preset(target, vocabulary, presets) == Recipe(target=target)


def test_a_target_without_a_preset_file_has_the_defaults(write: Write, vocabulary: Vocabulary) -> None:
    folder = write(a="extends: tensorrt")
    assert (
        preset("tensorrt", vocabulary, folder)
        == load_recipe(folder / "a.yaml", vocabulary, folder)
        == Recipe(target="tensorrt")
    )


def test_an_unknown_preset(vocabulary: Vocabulary, presets: Path) -> None:
    with pytest.raises(QConvertError, match=r"R010.*unknown target: tensort\n.*did you mean `tensorrt`"):
        preset("tensort", vocabulary, presets)


def test_overriding_gives_the_new_recipe_and_says_what_changed(vocabulary: Vocabulary) -> None:
    changes: dict[str, Any] = {
        "dataset.samples": 64,
        "mode": "auto",
        "gates.metric_drop": "1%",
        "dataset.inputs.input.1.preprocess.scale": 2,
        "shapes.a.b": 4,
        "report": ("html", "md"),
        "dataset.preprocess.resize": {"size": [3, 4]},
    }
    recipe, notes = override(Recipe(target="arm-neon"), changes, vocabulary)
    assert recipe.target == "arm-neon"
    assert recipe.dataset.samples == 64
    assert recipe.gates.metric_drop == 0.01
    assert recipe.shapes == {"a.b": 4}
    changed = recipe.dataset.inputs["input.1"].preprocess
    assert changed is not None
    assert changed.scale == 2.0
    assert {(n.code, n.severity) for n in notes} == {("R100", Severity.NOTE)}
    assert [n.message for n in notes][:2] == [
        "`dataset.samples` overridden: 128 -> 64",
        "`gates.metric_drop` overridden: not set -> 0.01",
    ]
    assert len(notes) == 6  # mode was auto before
    assert override(recipe, {}, vocabulary) == (recipe, ())


def test_overriding_finds_all_mistakes(vocabulary: Vocabulary) -> None:
    found = problems(
        lambda: override(
            Recipe(), {"dataset.samples": "x", "target": "arm", "dataset.sampls": 1, "mode.x": 3}, vocabulary
        ),
        Path("-"),
    )
    assert sorted((code, where) for code, where, _ in found) == [
        ("R003", "command line"),
        *[("R005", "command line")] * 2,
        ("R010", "command line"),
    ]


def test_paths_of_overrides_start_in_the_working_directory(
    vocabulary: Vocabulary, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also inside of a mapping and a list; what is no path stays, and so does a table that lies in the dataset."""
    monkeypatch.chdir(tmp_path)
    changes = {
        "gates": {"against": {"report": "base/{target}.json"}},
        "calibration.read": "/abs/ranges.cache",
        "evaluation.metric": ["top1", "m.py:f"],
        "dataset.prepare": "../p.py:g",
        "dataset.labels": "labels.csv",
    }
    recipe, _ = override(Recipe(target="arm-neon"), changes, vocabulary, Path("recipes/deep"))
    assert recipe.gates.regression is not None
    assert recipe.gates.regression.report == "../../base/{target}.json"
    assert recipe.calibration.read == "/abs/ranges.cache"
    assert recipe.evaluation.metric == ("top1", "../../m.py:f")
    assert recipe.dataset.prepare == "../../../p.py:g"
    assert recipe.dataset.labels == "labels.csv"
    (tmp_path / "labels.csv").write_text("")
    found, _ = override(recipe, {"dataset.labels": "labels.csv"}, vocabulary, Path("recipes/deep"))
    assert found.dataset.labels == "../../labels.csv"


def test_overrides_are_shown_as_yaml(vocabulary: Vocabulary) -> None:
    rules = [{"match": {"op": "Conv"}, "set": {"keep": "float"}}]
    changes = {"rules": rules, "evaluation.latency": False, "report": ["html"]}
    _, notes = override(Recipe(target="arm-neon"), changes, vocabulary)
    assert [n.message.partition(" -> ")[2] for n in notes] == [
        "[{match: {op: Conv}, set: {keep: float}}]",
        "false",
        "[html]",
    ]
