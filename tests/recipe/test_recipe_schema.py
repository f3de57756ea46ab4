"""The JSON Schema says what the decoder does."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from qconvert.recipe import Vocabulary, schema

GOOD = [
    "{}",
    "{target: tensorrt, gates: {metric_drop: 1%, speedup: 2}}",
    "dataset: {preprocess: {resize: {size: [3, 4]}, mean: [0.1, 2], crop: 3}, inputs: {x: {array: y}}}",
    "rules: [{match: {op: [Conv], between: [a, b]}, set: {keep: float, method: mse}}]",
    "algorithms: [rounding, bias-correction: {}, rounding: {block: 3}]",
    "evaluation: {metric: [top1, a.py:f]}",
    "report: [html]",
]
BAD = [
    "[]",
    "{targt: x}",
    "{target: x86}",
    "{version: 2}",
    "gates: {metric_drop: 1 percent}",
    "gates: {speedup: -1}",
    "dataset: {samples: 0}",
    "dataset: {preprocess: {resize: {size: [1, 2, 3]}}}",
    "dataset: {preprocess: {resize: {mode: stretch}}}",
    "calibration: {method: mes}",
    "rules: [{match: {op: Conv}}]",
    "rules: [{match: {}, set: {keep: float}}]",
    "rules: [{match: {op: Conv}, set: {method: mes}}]",
    "algorithms: rounding",
    "algorithms: [foo]",
    "algorithms: [foo: {}]",
    "algorithms: [rounding: {block: 0}]",
    "algorithms: [{rounding: {}, bias-correction: {}}]",
    "evaluation: {metric: acc}",
    "report: [pdf]",
]


@pytest.fixture
def validator(vocabulary: Vocabulary) -> Any:
    found = schema(vocabulary)
    Draft202012Validator.check_schema(found)
    return Draft202012Validator(found)


@pytest.mark.parametrize("text", GOOD)
def test_good_recipes_pass(validator: Any, load: Any, text: str) -> None:
    load(text)
    validator.validate(yaml.safe_load(text))


@pytest.mark.parametrize("text", BAD)
def test_bad_recipes_fail(validator: Any, mistakes: Any, text: str) -> None:
    assert mistakes(text)
    assert not validator.is_valid(yaml.safe_load(text))


def test_presets_pass(validator: Any, presets: Path) -> None:
    files = sorted(presets.glob("*.yaml"))
    assert [f.stem for f in files] == ["arm-neon", "tensorrt", "tflite-micro", "x86-vnni"]
    for file in files:
        validator.validate(yaml.safe_load(file.read_text()))


def test_every_key_is_described_and_no_placeholder_is_left(vocabulary: Vocabulary) -> None:
    found = schema(vocabulary)
    text = json.dumps(found)
    assert not [
        kind
        for kind in ("{targets}", "{methods}", "{metrics}", "{algorithms}", "{reports}", "x-qconvert")
        if kind in text
    ]
    assert found["properties"]["calibration"]["$ref"] == "#/$defs/Calibration"
    assert found["$defs"]["Calibration"]["properties"]["method"]["enum"] == list(vocabulary.methods)
    assert "mse, min-max" in found["$defs"]["Rounding"]["properties"]["block"]["description"]
    for part in (found, *(d for d in found["$defs"].values() if "Settings" not in d)):
        assert all("description" in p for p in part.get("properties", {}).values())
