"""Several targets at once: folders, shared data, one report, and failures that stay with their target."""

from __future__ import annotations

from pathlib import Path

import pytest
from end_to_end_support import Cli, Place, Ran, hashes

import qconvert
from qconvert.pipeline.words import presets_folder, vocabulary
from qconvert.recipe import for_target, read_recipe

RECIPE = """\
targets:
  - x86-vnni
  - tensorrt: {rules: [{match: {name: conv2}, set: {keep: float}}]}
placement: everywhere
algorithms: none
evaluation: {layers: false, rounds: 1}
report: [html, md]
"""


class Several:
    """A recipe for several targets, and the commands around it."""

    def __init__(self, place: Place, cli: Cli) -> None:
        self.place, self.cli, self.out = place, cli, place.root / "out"
        self.recipe = place.root / "recipe.yaml"

    def write(self, text: str) -> None:
        self.recipe.write_text(text)

    def run(self, *extra: object, out: Path | None = None) -> Ran:
        place = self.place
        return self.cli("convert", place.model, "-r", self.recipe, "-d", place.data, "-o", out or self.out, *extra)


@pytest.fixture
def several(place: Place, cli: Cli) -> Several:
    found = Several(place, cli)
    found.write(RECIPE)
    return found


def test_a_folder_for_each_and_one_report(several: Several) -> None:
    ran = several.run("--json")
    assert ran.code == 0
    first, second = ran.json["targets"]
    assert (first["target"], first["data"]) == ("x86-vnni", "read")
    assert (second["target"], second["data"]) == ("tensorrt", "shared")
    files = ["model.onnx", "model.report.html", "model.report.json", "model.report.md"]
    reports = ["targets.report.html", "targets.report.json", "targets.report.md"]
    assert sorted(hashes(several.out)) == sorted(
        [*(f"{target}/{name}" for target in ("tensorrt", "x86-vnni") for name in files), *reports]
    )
    assert (several.out / "targets.report.json").read_text() == ran.out
    for name in reports[::2]:
        text = (several.out / name).read_text()
        assert "x86-vnni" in text
        assert "read" in text
    assert 'href="./x86-vnni/model.report.html"' in (several.out / "targets.report.html").read_text()
    shown = several.cli("report", several.out / "targets.report.json")
    assert (shown.code, "each of which has a report of its own" in shown.err) == (2, True)
    for target in ("x86-vnni", "tensorrt"):  # the same file as alone
        alone = several.place.root / target
        assert several.run("-t", target, "-q", out=alone).code == 0
        assert (alone / "model.onnx").read_bytes() == (several.out / target / "model.onnx").read_bytes()


@pytest.mark.parametrize("inside", ["output", "reports"])
def test_nothing_is_written_into_the_dataset(several: Several, inside: str) -> None:
    data = several.place.data
    before = hashes(data)
    extra = {"output": ("--report-dir", several.place.root / "r"), "reports": ("--report-dir", data / "r")}[inside]
    ran = several.run(*extra, out=data / "out" if inside == "output" else several.out)
    assert (ran.code, ran.out, ran.err.startswith("error[O003]: ")) == (7, "", True), ran.err
    assert hashes(data) == before
    assert not several.out.exists()
    assert not (several.place.root / "r").exists()


def test_targets_of_the_command_line(several: Several) -> None:
    """`-t a,b -t c` replaces those of the recipe, and keeps what it says for them."""
    ran = several.run(
        "-t", "arm-neon,tensorrt", "-t", "x86-vnni", "--no-evaluate", "--report-dir", several.place.root / "r",
        "--report", "html,md,junit,csv",
    )  # fmt: skip
    assert ran.code == 0
    assert "junit, csv: a file for each target" in ran.out
    assert {line.split(":")[0] for line in ran.err.splitlines() if ": emit:" in line} == {
        "arm-neon",
        "tensorrt",
        "x86-vnni",
    }
    head = next(line for line in ran.out.splitlines() if "tensorrt" in line)
    assert head.index("arm-neon") < head.index("tensorrt") < head.index("x86-vnni")
    assert sorted(path.name for path in several.out.iterdir()) == ["arm-neon", "tensorrt", "x86-vnni"]
    assert sorted(path.name for path in (several.place.root / "r").iterdir()) == [
        "arm-neon",
        "targets.report.html",
        "targets.report.json",
        "targets.report.md",
        "tensorrt",
        "x86-vnni",
    ]
    planned = several.cli("plan", several.place.model, "-r", several.recipe, "-t", "tensorrt", "--json").json
    kept = [node["kind"] for node in planned["nodes"] if node["name"] == "conv2"]
    assert kept == ["float"]


def test_from_python(several: Several) -> None:
    place = several.place
    found = qconvert.convert_targets(place.model, several.out, recipe=several.recipe, data=place.data, evaluate=False)
    assert [(run.target, run.status, run.data) for run in found.targets] == [
        ("x86-vnni", "done", "read"),
        ("tensorrt", "done", "shared"),
    ]
    for wrong in (["x86-vnni"], ["nope", "x86-vnni"]):
        with pytest.raises(qconvert.QConvertError):
            qconvert.convert_targets(place.model, several.out, wrong, data=place.data)
    with pytest.raises(qconvert.QConvertError, match="several targets: x86-vnni, tensorrt"):
        qconvert.convert(place.model, several.out, recipe=several.recipe, data=place.data)


def test_presets_without_a_recipe(several: Several) -> None:
    place = several.place
    ran = several.cli("convert", place.model, "-t", "x86-vnni,arm-neon", "-d", place.data, "-o", several.out, "--no-evaluate", "-q")  # fmt: skip
    assert (ran.code, ran.out) == (0, "")
    assert (several.out / "arm-neon" / "model.onnx").exists()


def test_a_target_that_fails_leaves_the_others_alone(several: Several, monkeypatch: pytest.MonkeyPatch) -> None:
    several.write(RECIPE.replace("- x86-vnni", "- tflite-micro: {mode: dynamic}\n  - x86-vnni: {gates: {sqnr: 90}}"))
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(several.place.root / "summary.md"))
    ran = several.run()
    assert ran.code == 5  # the highest of 2, 5 and 0
    assert sorted(path.name for path in several.out.glob("*/model.*on*")) == [
        "model.onnx",
        "model.rejected.onnx",
        "model.report.json",
        "model.report.json",
    ]
    assert "tflite-micro: error[R009]" in ran.out
    assert "x86-vnni: FAILED  output SQNR" in ran.out
    assert "::error title=gate sqnr of x86-vnni::output SQNR" in ran.err
    assert "::error title=qconvert R009 of tflite-micro::" in ran.err
    summary = (several.place.root / "summary.md").read_text()
    assert summary == (several.out / "targets.report.md").read_text() + "\n"
    assert "3 targets: 1 done, 2 not" in summary
    quiet = several.run("-q")
    assert (quiet.code, quiet.out) == (5, "")
    assert "error[R009]" in quiet.err
    assert "x86-vnni: gate failed: output SQNR" in quiet.err


def test_nothing_is_done_twice(several: Several) -> None:
    several.write(RECIPE.replace("report: [html, md]\n", ""))
    extra = ("--no-evaluate", "--if-changed", "--depfile", several.place.root / "m.d")
    assert several.run(*extra).code == 0
    report = several.out / "targets.report.json"
    assert (several.place.root / "m.d").read_text().startswith(f"{report}: ")
    assert several.run(*extra).err == f"nothing has changed: {report} is up to date\n"
    (several.out / "tensorrt" / "model.onnx").unlink()
    assert "nothing has changed" not in several.run(*extra).err
    assert (several.out / "tensorrt" / "model.onnx").exists()


def test_a_baseline_for_each(several: Several) -> None:
    several.write(RECIPE + 'gates: {against: "base/{target}.json", size_ratio: 99%}\n')
    assert several.run("-q", "--update-baseline").code == 0
    assert sorted(path.name for path in (several.place.root / "base").iterdir()) == ["tensorrt.json", "x86-vnni.json"]
    assert several.run("-q").code == 0


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["convert", "-o", "m.onnx"], "several targets need a folder"),
        (["plan"], "the recipe is for several targets: x86-vnni, tensorrt"),
        (["convert", "-t", "x86-vnni,nope", "-o", "out"], "unknown target: nope"),
    ],
)
def test_wrong_use(several: Several, arguments: list[str], says: str) -> None:
    command, *options = arguments
    ran = several.cli(command, several.place.model, "-r", several.recipe, *options)
    assert ran.code == 2
    assert says in ran.err


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("targets: x86-vnni", "`targets` must be a list of targets"),
        ("targets:\n  - x86-vni", "2:5: `targets[0]` must be one of"),
        ("targets:\n  - nope: {}", "2:5: `targets[0]` must be one of"),
        ("targets:\n  - tensorrt: {precison: float16}", "2:16: unknown key: precison"),
        ("targets:\n  - tensorrt: {gates: {sqnr: high}}", "`gates.sqnr` must be a number"),
        ("targets:\n  - tensorrt: 3", "`targets[0].tensorrt` must be a mapping"),
        ("targets:\n  - tensorrt: {target: x86-vnni}", "`targets[0].tensorrt.target` cannot differ"),
        ("targets: [arm-neon, arm-neon]", "`targets[1]` names a target twice"),
        ("targets:\n  - {arm-neon: {}, x86-vnni: {}}", "must have one key, the name of a target, not 2"),
    ],
)
def test_mistakes_in_recipes(several: Several, text: str, says: str) -> None:
    several.write(text + "\n")
    ran = several.cli("recipe", "check", several.recipe)
    assert ran.code == 2
    assert ran.err.count("error[") == 1
    assert says in ran.err


def test_what_differs_lies_on_top(several: Several) -> None:
    several.write(
        "targets: [arm-neon, {tensorrt: {gates: {sqnr: 5}, rules: [{match: {op: Add}, set: {keep: float}}]}}]\n"
        "gates: {sqnr: 9, size_ratio: 2}\nrules: [{match: {op: Mul}, set: {keep: float}}]\n"
    )
    assert several.cli("recipe", "check", several.recipe).out == f"{several.recipe}: fine, for arm-neon, tensorrt\n"
    recipe = read_recipe(several.recipe, vocabulary(), presets_folder()).recipe
    plain, other = (for_target(recipe, name, vocabulary()) for name in ("arm-neon", "tensorrt"))
    assert (plain.target, plain.gates.sqnr, len(plain.rules)) == ("arm-neon", 9, 1)
    assert (other.target, other.gates.sqnr, other.gates.size_ratio, len(other.rules)) == ("tensorrt", 5, 2, 2)
