"""Every operator in a tiny model: onnx's own suite, whose models nobody wrote for a quantizer.

A conversion may refuse a model, as an input of text cannot be calibrated; it may not fail in another way, and what it gives has to
answer like the model itself.
"""

from __future__ import annotations

import importlib
import pkgutil
import warnings
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import onnx.backend.test.case.node as suite
import pytest
from onnx import numpy_helper
from onnx.backend.test.case.test_case import TestCase

import qconvert
from qconvert.errors import QConvertError

_OPSETS = range(7, 23)  # what every onnxruntime in question runs
_REFUSALS = {
    "M006": "onnxruntime has no kernel",
    "M007": "a meaning that newer operators do not have",
    "M008": "it computes scales at run time",
    "M009": "onnxruntime's kernel does less than the operator",
    "M010": "inputs without elements, or of open sizes",
    "M012": "no inputs",
    "M013": "NaN",
    "M014": "no integer kernel, where there is nothing else",
    "D005": "inputs that are no numbers",
    "D007": "NaN in the inputs",
}
_OPERATORS = [module.name for module in pkgutil.iter_modules(suite.__path__) if not module.name.startswith("_")]


@cache
def cases(operator: str) -> tuple[TestCase, ...]:
    """The first model of an operator, and the last that spells it in others."""
    before = len(suite._NodeTestCases)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        importlib.import_module(f"{suite.__name__}.{operator}")
    found = [case for case in suite._NodeTestCases[before:] if opset(case) in _OPSETS and takes_tensors(case)]
    return (*found[:1], *[case for case in found if "_expanded" in case.name][-1:])


def opset(case: TestCase) -> int:
    """Version of the standard operators; the newest where there are none."""
    return next((o.version for o in case.model.opset_import if o.domain in ("", "ai.onnx")), _OPSETS[-1])


def takes_tensors(case: TestCase) -> bool:
    """Whether no input is a sequence or an optional."""
    return all(value.type.HasField("tensor_type") for value in case.model.graph.input)


def write(case: TestCase, folder: Path) -> tuple[Path, Path]:
    """The model and its inputs, as two samples."""
    onnx.save(case.model, folder / "model.onnx")
    for number in range(2):
        sample = folder / "data" / f"test_data_set_{number}"
        sample.mkdir(parents=True)
        for at, value in enumerate(case.data_sets[0][0]):
            proto = value if isinstance(value, onnx.TensorProto) else numpy_helper.from_array(np.asarray(value))
            (sample / f"input_{at}.pb").write_bytes(proto.SerializeToString())
    return folder / "model.onnx", folder / "data"


@pytest.mark.parametrize("target", ["x86-vnni", "tflite-micro"])
@pytest.mark.parametrize("operator", _OPERATORS)
def test_models_are_converted_faithfully_or_refused(tmp_path: Path, operator: str, target: str) -> None:
    for case in cases(operator):
        folder = tmp_path / case.name
        folder.mkdir()
        check(*write(case, folder), folder / "out", target)


def check(model: Path, data: Path, output: Path, target: str) -> None:
    """Convert a model; a refusal has one of the known reasons, and a file is as close as its formats imply."""
    changes = {"mode": "static", "placement": "everywhere", "evaluation.latency": False}
    try:
        record = qconvert.convert(model, output, data=data, target=target, changes=changes)
    except QConvertError as refused:
        if {d.code for d in refused.diagnostics} <= _REFUSALS.keys():
            return
        raise
    fidelity = record.measurements.fidelity
    assert fidelity is not None
    assert fidelity.sqnr_db > (20 if any(node.kind != "float" for node in record.plan.nodes) else 100), model
