"""What a recipe asks for and its target or model cannot do is said, never passed over."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from end_to_end_support import Cli, Place
from quantize_support import random, text_model

from qconvert.graph import save
from qconvert.pipeline.planning import target_of
from qconvert.pipeline.words import vocabulary
from qconvert.recipe import Recipe
from qconvert.targets import TARGETS

FORMATS = [(name, format_) for name, target in TARGETS.items() for format_ in target.artefact.formats]


@pytest.mark.parametrize(("target", "format_"), FORMATS)
def test_every_format_of_a_target_can_be_asked_for(target: str, format_: str) -> None:
    assert format_ in vocabulary().formats
    assert target_of(Recipe(target=target, format=format_)).name == target


def test_another_format_is_refused_with_those_that_there_are(place: Place, cli: Cli) -> None:
    ran = cli("plan", place.model, "-t", "tflite-micro", "--format", "qdq")
    assert (ran.code, "choose `tflite`" in ran.err) == (2, True)
    ran = cli("plan", place.model, "-t", "x86-vnni", "--format", "qopertor")
    assert (ran.code, "did you mean `qoperator`?" in ran.err) == (2, True)


@pytest.mark.parametrize(("target", "rich"), [("x86-vnni", True), ("tensorrt", True), ("tflite-micro", False)])
def test_modes_that_are_offered_without_data_need_none(place: Place, cli: Cli, target: str, rich: bool) -> None:
    everywhere = ("--set", "placement=everywhere")
    ran = cli("convert", place.model, "-t", target, "-o", place.root / "out", "-q", *everywhere, "--mode", "static")
    assert ran.code == 4, ran
    hint = ran.err.partition("hint: ")[2]
    modes = re.findall(r"`([a-z0-9-]{3,})`", hint)
    assert bool(modes) is rich
    for mode in modes:
        ran = cli("convert", place.model, "-t", target, "-o", place.root / "out", "-q", *everywhere, "--mode", mode)
        assert ran.code == 0, (mode, ran)


@pytest.mark.parametrize(
    ("target", "key", "value", "says"),
    [
        ("x86-vnni", "shapes.bach", 3, "open dimensions: batch"),
        ("tensorrt", "reduce_range", True, "does not take `reduce_range`"),
        ("arm-neon", "reduce_range", True, "does not take `reduce_range`"),
        ("x86-vnni", "keep_layout", True, "does not take `keep_layout`"),
        ("tensorrt", "verify", "emulate", "can be emulated"),
        ("x86-vnni", "calibration.scales", "power-of-two", "no powers of two"),
    ],
)
def test_what_cannot_be_kept_is_refused(
    place: Place, cli: Cli, target: str, key: str, value: object, says: str
) -> None:
    mode = ("--mode", "dynamic") if key == "calibration.scales" else ()
    ran = cli("plan", place.model, "-t", target, "--set", f"{key}={value}", *mode)
    assert (ran.code, says in ran.err) == (2, True), ran


@pytest.mark.parametrize(("data", "more"), [(False, ()), (True, ("--no-evaluate",))])
def test_other_cores_need_samples(place: Place, cli: Cli, data: bool, more: tuple[str, ...]) -> None:
    given = ("-d", place.data) if data else ()
    ran = cli("convert", place.model, *given, "-t", "x86-vnni", "-o", place.output, "--set", "verify=emulate", *more)
    assert (ran.code, "evaluates none" in ran.err) == (2, True), ran


@pytest.mark.parametrize(
    ("key", "value", "mode", "idle"),
    [
        ("weights.block", 32, "static", True),
        ("weights.block", 32, "weight-only", False),
        ("weights.symmetric", True, "auto", True),
        ("weights.levels", "ternary", "static", True),
        ("weights.bits", 4, "float16", True),
        ("weights.bits", 4, "static", False),
        ("format", "qoperator", "float16", True),
        ("format", "qoperator", "static", False),
        ("calibration.percentile", 99.0, "static", True),
    ],
)
def test_what_nothing_reads_is_said(place: Place, cli: Cli, key: str, value: object, mode: str, idle: bool) -> None:
    ran = cli("plan", place.model, "-t", "x86-vnni", "--mode", mode, "--set", f"{key}={value}")
    assert ran.code == 0, ran
    assert (f"warning[R101]: {key}: " in ran.err) is idle


def test_a_method_that_reads_the_percentile(place: Place, cli: Cli) -> None:
    some = ("--set", "calibration.percentile=99", "--set", "calibration.method=percentile")
    assert "R101" not in cli("plan", place.model, "-t", "x86-vnni", *some).err


def test_a_mode_that_no_node_takes_is_said(tmp_path: Path, cli: Cli) -> None:
    text = "(float[1,16,8,8] x) => (float[1,32,8,8] y) { p = Sigmoid(x)\ny = Conv<pads=[1,1,1,1]>(p, w) }"
    path = tmp_path / "conv.onnx"
    save(text_model(text, w=random(32, 16, 3, 3)), path)
    everywhere = ("--set", "placement=everywhere")
    ran = cli("plan", path, "-t", "x86-vnni", "--mode", "dynamic", *everywhere)
    assert (ran.code, "warning[P102]: no node has ranges that are measured" in ran.err) == (0, True), ran
    assert "2 nodes are static" in ran.err
    assert "P102" not in cli("plan", path, "-t", "x86-vnni", "--mode", "static", *everywhere).err
    ran = cli("plan", path, "-t", "tensorrt", "--mode", "weight-only", "--set", "weights.levels=nvfp4")
    assert (ran.code, "no form for the weight of Conv as `nvfp4`" in ran.err) == (0, True), ran
    assert "P101" not in ran.err
    assert "as `nvfp4`" in ran.out, "the reason of the layer, not that of a node without weights"
    assert "P102" not in cli("plan", path, "-t", "x86-vnni", "--mode", "weight-only").err
