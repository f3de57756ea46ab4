"""Every combination of target, mode, bits, blocks and zero points: what cannot be is refused before data is read, with a way out."""

import itertools
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from quantize_support import random, run, text_model

from qconvert.calibrate import weight_params
from qconvert.emit import EMITTERS
from qconvert.errors import QConvertError
from qconvert.graph import Graph, save
from qconvert.pipeline.events import Stages
from qconvert.pipeline.planning import Planned, plan_of
from qconvert.pipeline.resolve import chosen_recipe
from qconvert.plan import Kind
from qconvert.targets import TARGETS

MODES = ("auto", "static", "dynamic", "weight-only", "codebook", "float8", "float16", "bfloat16")
STORING = ("weight-only", "codebook")
WIDTH = 128


def layers() -> Graph:
    """One layer of each kind, each with an input of its own."""
    text = f"""(float[1,32,6,6] image, float[4,{WIDTH}] row, float[1,4,{WIDTH}] rows, int64[1,5] words, float[5,1,64] steps)
        => (float[1,32,4,4] y0, float[4,64] y1, float[1,4,64] y2, float[1,5,{WIDTH}] y3, float[5,1,1,32] y4, float[5,1,1,32] y5) {{
        y0 = Conv (image, kernel)
        y1 = Gemm <transB=1> (row, turned, bias)
        y2 = MatMul (rows, matrix)
        y3 = Gather (table, words)
        y4 = LSTM <hidden_size=32> (steps, wi, ri)
        y5 = GRU <hidden_size=32> (steps, wg, rg)
    }}"""
    shapes = {
        "kernel": (32, 32, 3, 3), "turned": (64, WIDTH), "bias": (64,), "matrix": (WIDTH, 64), "table": (300, WIDTH),
        "wi": (1, 128, 64), "ri": (1, 128, 32), "wg": (1, 96, 64), "rg": (1, 96, 32),
    }  # fmt: skip
    return text_model(text, **{name: 0.3 * random(*shape) for name, shape in shapes.items()})


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("combinations") / "layers.onnx"
    save(layers(), path)
    return path


def planned(model: Path, target: str, changes: Mapping[str, Any]) -> tuple[Planned, Stages]:
    chosen, stages = chosen_recipe(None, (target,), changes), Stages()
    return plan_of(model, chosen.recipe, stages, chosen.source), stages


def attempted(
    model: Path, target: str, changes: Mapping[str, Any]
) -> tuple[QConvertError | None, Planned | None, Stages]:
    try:
        return None, *planned(model, target, changes)
    except QConvertError as refused:
        return refused, None, Stages()


def combinations(mode: str) -> Iterator[dict[str, Any]]:
    blocks = (None, 0, 8, 32, 128) if mode in STORING else (None, 32)
    for bits, block, symmetric in itertools.product((None, 3, 4, 8), blocks, (None, False)):
        said = {"weights.bits": bits, "weights.block": block, "weights.symmetric": symmetric}
        yield {"mode": mode, **{key: value for key, value in said.items() if value is not None}}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("target", TARGETS)
def test_a_combination_is_refused_with_a_way_out_or_holds(model: Path, target: str, mode: str) -> None:
    done: set[object] = set()
    for changes in combinations(mode):
        refused, found, stages = attempted(model, target, changes)
        if refused is not None or found is None:
            assert refused is not None
            assert refused.exit_code == 2, (changes, refused)
            assert all(d.hint for d in refused.diagnostics), (changes, refused)
            continue
        _assert_heeded(changes, found, {d.where for d in stages.diagnostics if d.code == "R101"})
        key = tuple((w.format, w.block, w.levels, w.form) for w in found.plan.weights.values())
        if key not in done and not found.plan.taps and found.plan.count(Kind.HALF) == 0:
            done.add(key)
            _assert_near(found)


def _assert_heeded(changes: Mapping[str, Any], found: Planned, idle: set[str | None]) -> None:
    """What the recipe says of weights is in the plan, or was said to have no effect."""
    stored = [w for w in found.plan.weights.values() if w.form is not None]
    for key, value in changes.items():
        if key == "mode" or key in idle:
            continue
        if key == "weights.bits":
            widths = {w.format.bits for (name, _), w in found.plan.weights.items() if _computes(found, name)}
            assert widths <= {value}, (changes, widths)
        elif key == "weights.block":
            assert all(w.block in (value, 0) or w.block < value for w in stored), (changes, stored)
        else:
            assert not any(w.format.symmetric for w in stored), (changes, stored)


def _computes(found: Planned, name: str) -> bool:
    """Whether a node is a layer whose width the recipe decides: tables beside integers always have 8 bits."""
    return found.plan.nodes[name].kind is not Kind.LOOKUP and found.graph.by_name[name].op != "Gather"


def _assert_near(found: Planned) -> None:
    """The file runs, and gives about what the float model gives."""
    params = weight_params(found.graph, found.plan, {}, _calibration())
    emitted = EMITTERS["qdq"](found.graph, found.plan, {}, params)
    feeds = [_feed()]
    if any(node.domain == "trt" for node in emitted.nodes):
        return  # an operator of TensorRT alone
    bits = min((w.format.bits for w in found.plan.weights.values()), default=8)
    for name, value in run(layers(), feeds)[0].items():
        error = np.square(run(emitted, feeds)[0][name] - value).sum() / np.square(value).sum()
        assert error < {8: 0.01, 4: 0.1}.get(bits, 1.5), (name, error)


@cache
def _calibration() -> Any:
    return chosen_recipe(None, ("x86-vnni",), {}).recipe.calibration


def _feed() -> dict[str, Any]:
    words = np.random.default_rng(0).integers(0, 300, (1, 5))
    return {
        "image": random(1, 32, 6, 6), "row": random(4, WIDTH), "rows": random(1, 4, WIDTH), "words": words, "steps": random(5, 1, 64),
    }  # fmt: skip


REFUSED: list[tuple[str, dict[str, Any], str, str]] = [  # target, changes, reason, way out
    ("x86-vnni", {"mode": "static", "weights.bits": 3}, "no integer kernels for 3-bit weights", "bits to 4, or `mode: codebook`"),
    ("x86-vnni", {"mode": "dynamic", "weights.bits": 2}, "no integer kernels for 2-bit weights", "or `mode: weight-only`, which takes 2"),
    ("x86-vnni", {"mode": "weight-only", "weights.bits": 3}, "stores no weights with bits 3, only 2, 4, 8", "`mode: codebook`, which takes 3"),
    ("x86-vnni", {"mode": "weight-only", "weights.block": 48}, "no weights with block 48, only 0, 16", "`block: 64`"),
    ("x86-vnni", {"mode": "codebook", "weights.levels": "binary", "weights.bits": 4}, "`levels: binary` has 1 bit and not 4", "bits to 1"),
    ("x86-vnni", {"mode": "weight-only", "weights.levels": "nvfp4"}, "no form for tables of levels", "`mode: weight-only` with"),
    ("x86-vnni", {"mode": "float8"}, "no kernels for FP8", "`float16`, or `static`"),
    ("x86-vnni", {"mode": "bfloat16"}, "no kernels for bfloat16", "`float16`"),
    ("x86-vnni", {"precision": "float16"}, "does not take `float16` beside integers", "`mode: float16`"),
    ("tensorrt", {"mode": "dynamic"}, "no dynamic quantization", "`static`"),
    ("tensorrt", {"mode": "static", "weights.bits": 4}, "no integer kernels for 4-bit weights", "bits to 8, or `mode: weight-only`, which takes 4"),
    ("tensorrt", {"mode": "float8", "weights.bits": 4}, "no FP8 kernels for 4-bit weights", "bits to 8"),
    ("tensorrt", {"mode": "float8", "float8": "e5m2"}, "no FP8 in E5M2: its QuantizeLinear", "`float8: e4m3`"),
    ("tensorrt", {"mode": "weight-only", "weights.bits": 8}, "stores no weights with bits 8, only 4", "`bits: 4`"),
    ("tensorrt", {"mode": "weight-only", "weights.block": 32}, "stores no weights with block 32, only 64, 128", "`block: 64`"),
    ("tensorrt", {"mode": "weight-only", "weights.symmetric": False}, "without zero points", "`symmetric: true`"),
    ("tensorrt", {"mode": "codebook"}, "no form for tables of levels", "`mode: weight-only`"),
    ("tensorrt", {"format": "qoperator"}, "no format `qoperator`", "`qdq`"),
    ("tflite-micro", {"mode": "dynamic"}, "no dynamic quantization", "`static`"),
    ("tflite-micro", {"mode": "weight-only"}, "no weight-only form", "`mode: static`, with `weights: {bits: 4}`"),
    ("tflite-micro", {"mode": "codebook"}, "no form for tables of levels", "`mode: static`"),
    ("tflite-micro", {"mode": "float16"}, "no kernels for float16", "`static`"),
    ("tflite-micro", {"mode": "float8"}, "no kernels for FP8", "`static`"),
    ("tflite-micro", {"mode": "static", "weights.bits": 2}, "no integer kernels for 2-bit weights", "bits to 4"),
]  # fmt: skip


@pytest.mark.parametrize(("target", "changes", "reason", "way"), REFUSED)
def test_the_reason_and_the_nearest_choice_are_named(
    model: Path, target: str, changes: dict[str, Any], reason: str, way: str
) -> None:
    with pytest.raises(QConvertError) as refused:
        planned(model, target, changes)
    assert refused.value.exit_code == 2
    assert reason in refused.value.diagnostics[0].message
    assert way in (refused.value.diagnostics[0].hint or "")


def test_a_rule_for_dynamic_ranges_is_refused_where_there_are_none(model: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("target: tensorrt\nrules: [{match: {op: Gemm}, set: {mode: dynamic}}]\n")
    loaded = chosen_recipe(recipe, (), {})
    with pytest.raises(QConvertError, match="no dynamic quantization") as refused:
        plan_of(model, loaded.recipe, Stages(), loaded.source)
    assert refused.value.diagnostics[0].where == "rules[0]"


def test_settings_of_stored_weights_in_rules_are_said_to_be_idle(model: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("mode: static\nrules: [{match: {op: Gemm}, set: {block: 32}}]\n")
    loaded = chosen_recipe(recipe, (), {})
    stages = Stages()
    plan_of(model, loaded.recipe, stages, loaded.source)
    assert [d.where for d in stages.diagnostics if d.code == "R101"] == ["rules[0].block"]
