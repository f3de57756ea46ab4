"""What a recipe asks for and its target or model cannot do is said, never passed over."""

from __future__ import annotations

import re

import pytest
from end_to_end_support import Cli, Place

from qconvert.pipeline.planning import target_of
from qconvert.pipeline.words import vocabulary
from qconvert.recipe import Recipe
from qconvert.targets import TARGETS

FORMATS = [(name, format_) for name, target in TARGETS.items() for format_ in target.formats]


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
