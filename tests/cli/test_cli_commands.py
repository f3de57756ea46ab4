"""The commands on good input and on wrong usage: exit code, standard output and standard error together."""

from __future__ import annotations

import json
import shlex
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from end_to_end_support import REPO, SAMPLES, Cli, Place, strict_json

from qconvert import __version__
from qconvert.cli import app as application
from qconvert.cli import explain as explain_command
from qconvert.errors import CODES, EXIT_CODES
from qconvert.report import FORMATS
from qconvert.report.comparison import COMPARISON_FORMATS
from qconvert.report.evaluation import EVALUATION_FORMATS
from qconvert.targets import TARGETS

RESNET = SAMPLES / "digits_resnet" / "digits_resnet.onnx"
COMMANDS = [
    "convert",
    "plan",
    "inspect",
    "check",
    "recipe",
    "recipe check",
    "recipe schema",
    "recipe init",
    "targets",
    "explain",
]


# --- help and usage ----------------------------------------------------------------------------------------------------


def test_version(cli: Cli) -> None:
    ran = cli("--version")
    assert (ran.code, ran.out, ran.err) == (0, f"qconvert {__version__}\n", "")


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"]])
def test_help_lists_the_commands(cli: Cli, arguments: list[str]) -> None:
    ran = cli(*arguments)
    assert (ran.code, ran.err) == (0, "")
    assert all(command.split()[0] in ran.out for command in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_each_command(cli: Cli, command: str) -> None:
    ran = cli(*command.split(), "--help")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.startswith(f"Usage: qconvert {command} ")


@pytest.mark.parametrize(
    ("command", "formats"),
    [("convert", FORMATS), ("report", FORMATS), ("evaluate", EVALUATION_FORMATS), ("compare", COMPARISON_FORMATS)],
)
def test_help_lists_the_report_formats_that_the_command_has(cli: Cli, command: str, formats: Iterable[str]) -> None:
    words = cli(command, "--help").out.split("--report <")[1].split("--report-dir <")[0]
    listed = {name for name in ("json", "html", "md", "junit", "csv") if name in words.lower()}
    assert listed == set(formats)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["nosuch"], "'nosuch'"),
        (["convert"], "model"),
        (["convert", "--nosuch"], "--nosuch"),
        (["convert", "m.onnx", "--threads", "0"], "--threads"),
        (["convert", "m.onnx", "--samples", "many"], "--samples"),
        (["check", "m.onnx"], "--target"),
        (["plan", "m.onnx", "extra"], "extra"),
        (["recipe"], "command"),
        (["recipe", "nosuch"], "'nosuch'"),
        (["convert", "m.onnx"], "neither a recipe nor a target"),
        (["convert", "m.onnx", "-t", "x86-vnni", "--set", "samples"], "KEY=VALUE"),
        (["convert", "m.onnx", "-t", "x86-vnni", "--set", "format=[a"], "not YAML"),
        (["explain", "Q999"], "no such code: Q999"),
    ],
)
def test_wrong_usage(cli: Cli, arguments: list[str], says: str) -> None:
    ran = cli(*arguments)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith("error[R011]: ")
    assert ran.err.count("error[") == 1
    assert says in ran.err
    assert "\n  hint: " in ran.err


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["-t", "nope"], "R010", "x86-vnni, arm-neon, tensorrt"),
        (["-t", "x86-vnni", "--set", "calibratoin.method=mse"], "R003", "calibration"),
        (["-t", "x86-vnni", "--set", "dataset.samples=0"], "R005", "dataset.samples"),
        (["-t", "x86-vnni", "--samples", "0"], "R005", "dataset.samples"),
        (["-t", "x86-vnni", "--mode", "sometimes"], "R005", "sometimes"),
        (["-t", "x86-vnni", "--format", "tflite9"], "R005", "tflite9"),
        (["-t", "tensorrt", "--format", "qoperator"], "R009", "qdq"),
        (["-t", "tensorrt", "--mode", "dynamic"], "R009", "static"),
        (["-t", "x86-vnni", "--set", "precision=float16"], "R009", "float32"),
        (["-t", "tflite-micro", "--mode", "weight-only"], "R009", "weight-only"),
        (["-t", "x86-vnni", "--mode", "weight-only", "--bits", "3"], "R009", "`bits: 4`, or `mode: codebook`"),
        (["-t", "x86-vnni", "--mode", "weight-only", "--block", "48"], "R009", "block: "),
        (["-r", "nope.yaml"], "R001", "nope.yaml"),
    ],
)
def test_wrong_recipe_by_options(cli: Cli, place: Place, arguments: list[str], code: str, says: str) -> None:
    ran = cli("convert", place.model, "-d", place.data, "-o", place.output, *arguments)
    assert (ran.code, ran.out) == (2, "")
    assert f"error[{code}]: " in ran.err
    assert says in ran.err
    assert not place.output.parent.exists()


def test_all_mistakes_at_once(cli: Cli, place: Place) -> None:
    ran = cli(*place.convert("--set", "foo=1", "--set", "gates.sqnr=high", "--json", "-q"))
    assert ran.code == 2
    assert {d["code"] for d in ran.json["diagnostics"]} == {"R003", "R005"}


# --- JSON --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        ["inspect", RESNET],
        ["plan", RESNET, "-t", "x86-vnni"],
        ["plan", RESNET, "-t", "tensorrt", "--why", "stem"],
        ["plan", RESNET, "-t", "arm-neon", "--all"],
        ["check", RESNET, "-t", "x86-vnni"],
        ["targets"],
        ["inspect", "nope.onnx"],
        ["plan", RESNET, "-t", "nope"],
        ["plan", RESNET, "-t", "x86-vnni", "--why", "nope"],
        ["check", "nope.onnx", "-t", "tensorrt"],
        ["convert", "nope.onnx", "-t", "tensorrt"],
        ["convert", "nope.onnx", "--nosuch"],
        ["nosuch"],
    ],
    ids=lambda arguments: " ".join(Path(str(a)).name for a in arguments),
)
def test_json_is_one_document(cli: Cli, arguments: list[object]) -> None:
    ran = cli(*arguments, "--json")
    assert isinstance(ran.json, dict)
    if ran.code:
        assert [d["severity"] for d in ran.json["diagnostics"]] == ["error"]
        assert f"error[{ran.json['diagnostics'][0]['code']}]: " in ran.err
    else:
        assert ran.err == ""


def test_record_has_no_number_that_strict_parsers_refuse(cli: Cli, place: Place) -> None:
    """Equal outputs have an infinite SQNR; JSON has no infinity."""
    ran = cli(
        "convert",
        place.model,
        "-d",
        place.data,
        "-o",
        place.output,
        "-t",
        "x86-vnni",
        "--json",
        "--set",
        "rules=[{match: {name: '*'}, set: {keep: float}}]",
        "--set",
        "gates.sqnr=.inf",
    )
    assert ran.json["measurements"]["fidelity"]["sqnr_db"] == "inf"
    strict_json((place.output.parent / "m.report.json").read_text())


def test_quiet(cli: Cli, place: Place) -> None:
    ran = cli(*place.convert("-q", "--no-evaluate"))
    assert (ran.code, ran.out, ran.err) == (0, "", "")


def test_one_line_a_stage(cli: Cli, place: Place) -> None:
    ran = cli(*place.convert("--no-evaluate", "--json"))
    lines = [line for line in ran.err.splitlines() if not line.startswith("note[R100]")]
    assert [line.split(":")[0] for line in lines] == [stage["name"] for stage in ran.json["stages"]]


# --- inspect, plan, check ----------------------------------------------------------------------------------------------


def test_inspect(cli: Cli) -> None:
    ran = cli("inspect", RESNET)
    assert (ran.code, ran.err) == (0, "")
    for wanted in ("opset 17", "input image: float32[batch,1,32,32]", "output logits", "13 Conv", "MACs", *TARGETS):
        assert wanted in ran.out


@pytest.mark.parametrize("target", TARGETS)
def test_plan(cli: Cli, target: str) -> None:
    ran = cli("plan", RESNET, "-t", target)
    assert (ran.code, ran.err) == (0, "")
    assert "of the MACs in integer kernels" in ran.out
    everything = cli("plan", RESNET, "-t", target, "--all")
    assert everything.code == 0
    assert "stage1_1_1_conv" in everything.out


def test_plan_agrees_with_convert(cli: Cli, place: Place) -> None:
    options = ["-t", "x86-vnni", "--set", "placement=everywhere", "--json"]
    planned: dict[str, Any] = cli("plan", place.model, *options).json
    converted: dict[str, Any] = cli(
        "convert", place.model, "-d", place.data, "-o", place.output, "--no-evaluate", *options
    ).json["plan"]
    assert converted["nodes"] == planned["nodes"]


def test_weight_only_needs_no_data(cli: Cli, place: Place) -> None:
    ran = cli(
        "convert", place.model, "-t", "x86-vnni", "--mode", "weight-only", "--block", "32", "-o", place.output, "--json"
    )
    assert ran.code == 0
    record: dict[str, Any] = ran.json
    kinds = {node["kind"] for node in record["plan"]["nodes"] if node["op"] == "Conv"}
    assert kinds == {"weight-only"}
    size = record["measurements"]["size"]
    assert size["bytes"] < 0.6 * size["float_bytes"]


def test_plan_why(cli: Cli) -> None:
    ran = cli("plan", RESNET, "-t", "tensorrt", "--why", "classifier")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.startswith("classifier (Gemm): ")
    missing = cli("plan", RESNET, "-t", "tensorrt", "--why", "clasifier")
    assert (missing.code, missing.out) == (2, "")
    assert "did you mean `classifier`" in missing.err


def test_check(cli: Cli, place: Place) -> None:
    assert cli(*place.convert("-q", "--no-evaluate")).code == 0
    good = cli("check", place.output, "-t", "x86-vnni")
    assert (good.code, good.out) == (0, f"{place.output}: 0 errors, 0 warnings for x86-vnni\n")
    bad = cli("check", place.output, "-t", "tensorrt", "--json")
    assert bad.code == 6
    assert {"C001", "C002"} <= {d["code"] for d in bad.json["diagnostics"]}
    assert cli("check", place.output, "-t", "nope").code == 2


# --- recipe ------------------------------------------------------------------------------------------------------------


def test_recipe_check(cli: Cli, tmp_path: Path) -> None:
    good, bad = REPO / "recipes" / "x86-vnni.yaml", tmp_path / "bad.yaml"
    bad.write_text(
        "version: 1\ntarget: x86-vnni\ncalibration: {methd: mse}\nrules:\n- match: {op: Conv}\n  set: {keep: flaot}\n"
    )
    ran = cli("recipe", "check", good)
    assert (ran.code, ran.out, ran.err) == (0, f"{good}: fine, for x86-vnni\n", "")
    ran = cli("recipe", "check", good, bad, tmp_path / "none.yaml")
    assert (ran.code, ran.out) == (2, "")
    assert f"error[R003]: {bad}:3:15: " in ran.err
    assert f"error[R005]: {bad}:6:15: " in ran.err
    assert "error[R001]: " in ran.err


def test_recipe_check_against_a_model(cli: Cli, tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("target: x86-vnni\nrules:\n- match: {name: stem_cnv}\n  set: {keep: float}\n")
    assert cli("recipe", "check", recipe).code == 0
    ran = cli("recipe", "check", recipe, "-m", RESNET)
    assert (ran.code, ran.out) == (2, "")
    assert "error[R007]: " in ran.err
    assert "stem_conv" in ran.err


@pytest.mark.parametrize("name", ["resnet", "mobilenet", "transformer", "poolnet"])
def test_recipes_of_the_sample_models(cli: Cli, name: str) -> None:
    folder = SAMPLES / f"digits_{name}"
    assert cli("recipe", "check", folder / "recipe.yaml", "-m", folder / f"digits_{name}.onnx").code == 0


@pytest.mark.parametrize("name", ["resnet", "mobilenet", "transformer", "poolnet"])
def test_commands_in_the_sample_recipes(cli: Cli, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The line at the head of a recipe can be copied: it gets as far as reading the data."""
    folder = tmp_path / "sample_models" / f"digits_{name}"
    folder.mkdir(parents=True)
    for source in (SAMPLES / folder.name).glob("*.*"):
        shutil.copy(source, folder)
    monkeypatch.chdir(folder)
    (command,) = (line for line in (folder / "recipe.yaml").read_text().splitlines() if "qconvert convert" in line)
    ran = cli(*shlex.split(command.lstrip("# "))[1:])
    assert (ran.code, "error[D00" in ran.err) == (4, True), ran.err
    for part in ("calib", "eval"):
        (folder / part).symlink_to(SAMPLES / folder.name / part)
    if name == "poolnet":
        assert cli(*shlex.split(command.lstrip("# "))[1:], "--no-evaluate").code == 0
        assert (tmp_path / "out" / "model.tflite").exists()


def test_recipe_schema(cli: Cli) -> None:
    ran = cli("recipe", "schema")
    assert (ran.code, ran.err) == (0, "")
    assert set(TARGETS) <= set(json.dumps(ran.json).replace('"', " ").replace(",", " ").split())


@pytest.mark.parametrize("target", TARGETS)
def test_recipe_init(cli: Cli, tmp_path: Path, target: str) -> None:
    path = tmp_path / "recipe.yaml"
    shown = cli("recipe", "init", RESNET, "-t", target)
    assert (shown.code, shown.err) == (0, "")
    written = cli("recipe", "init", RESNET, "-t", target, "-o", path)
    assert (written.code, written.out) == (0, f"wrote {path}\n")
    assert path.read_text() == shown.out
    assert cli("recipe", "check", path, "-m", RESNET).code == 0
    again = cli("recipe", "init", RESNET, "-o", path)
    assert (again.code, again.out) == (7, "")
    assert again.err.startswith("error[O001]: ")
    assert cli("recipe", "init", RESNET, "-t", "nope").code == 2


# --- explain, targets --------------------------------------------------------------------------------------------------


def test_explain_every_code(cli: Cli) -> None:
    listed = cli("explain")
    assert (listed.code, listed.err) == (0, "")
    for code, row in CODES.items():
        assert f"{code}  {row.title}\n" in listed.out
        one = cli("explain", code.lower())
        assert one.code == 0
        assert one.out.startswith(f"{code}: {row.title}\n{row.explanation}\n")


@pytest.mark.parametrize("code", CODES)
def test_every_explanation_says_what_to_do(code: str) -> None:
    """What happened is one sentence, what to do another one."""
    text = CODES[code].explanation.replace("e.g.", "").replace("i.e.", "")
    assert text.endswith(".")
    assert sum(text.count(end) for end in (". ", "; ", ": ")) >= 1, "add a sentence that says what to do"


def test_exit_codes() -> None:
    assert EXIT_CODES["R"] == 2
    assert [EXIT_CODES[letter] for letter in "XMDGVOT"] == [1, 3, 4, 5, 6, 7, 8]


def test_targets(cli: Cli) -> None:
    ran = cli("targets")
    assert (ran.code, ran.err) == (0, "")
    assert all(name in ran.out for name in TARGETS)
    assert set(cli("targets", "--json").json) == set(TARGETS)


# --- bugs --------------------------------------------------------------------------------------------------------------


def test_a_bug_leaves_a_log(cli: Cli, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def explode(*arguments: object) -> None:
        raise ZeroDivisionError("[bold]oops")

    monkeypatch.setattr(explain_command, "out", explode)
    ran = cli("explain", "D004", "--json")
    assert ran.code == 2  # `explain` has no --json
    ran = cli("explain", "D004")
    assert (ran.code, ran.out) == (1, "")
    assert ran.err.startswith("error[X001]: internal error: ZeroDivisionError: [bold]oops\n")
    log = Path(ran.err.rsplit(" ", 1)[1].strip())
    text = log.read_text()
    assert "Traceback" in text
    assert "['explain', 'D004']" in text
    assert log.parent == place.root.parent / "tmp"


def test_every_command_is_documented() -> None:
    for command in application.app.registered_commands:
        assert command.callback is not None
        assert command.callback.__doc__
