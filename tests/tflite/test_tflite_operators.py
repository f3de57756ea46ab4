"""Every operator that the target claims, in both interpreters against ONNX in FP32."""

from pathlib import Path

import pytest
from operator_cases import Case, cases
from tflite_support import convert, feeds_of, interpreters

from qconvert.emit.tflite.write import LOWERINGS
from qconvert.targets import TARGETS

CASES = list(cases())


@interpreters
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_operator(case: Case, tmp_path: Path) -> None:
    model = case.model()
    found = convert(model, tmp_path, feeds_of(model, spread=case.spread, offset=case.offset))
    assert found.worst_db >= case.least
    assert found.largest_gap <= case.gap


def test_every_claimed_operator_has_a_lowering_and_an_instance() -> None:
    claimed = {kernel.op for kernel in TARGETS["tflite-micro"].kernels.integer}
    assert claimed == set(LOWERINGS)
    assert claimed <= {case.op for case in CASES}
