"""The estimate of the arena against what TensorFlow Lite Micro counts."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto
from operator_cases import cases
from test_tflite_models import poolnet, torch_like, twin
from test_tflite_recurrent import layer
from tflite_support import MODELS, artefact_of, feeds_of, interpreters, shared

from qconvert.emit.tflite import Artefact
from qconvert.emit.tflite.memory import arena_estimate, peak
from qconvert.runtime.tflite import Allocation

SAMPLES = Path(__file__).parents[2] / "sample_models"


def counted(artefact: Artefact) -> Allocation:
    interpreter = shared("tflm").load(artefact.data, len(artefact.outputs))
    interpreter.run([np.zeros(b.stored, b.stored_dtype) for b in artefact.inputs])
    found = interpreter.allocation()
    assert found is not None
    return found


def agrees(model: ModelProto, folder: Path) -> None:
    """The plan of the activations is exact; the structures are no fewer than estimated."""
    artefact = artefact_of(model, folder, feeds_of(model, 2, offset=3.0, spread=0.5))[1]
    found, estimate = counted(artefact), arena_estimate(artefact.file)
    assert peak(artefact.file) == found.head
    assert found.total <= estimate <= 1.25 * found.total


NETWORKS = {
    "torch even": lambda: torch_like(28),
    "torch odd": lambda: torch_like(33),
    "nhwc": lambda: twin(True),
    "poolnet": lambda: poolnet(False)[0],
    "lstm": lambda: layer("LSTM", 40),
    "lstm both ways": lambda: layer("LSTM", 40, direction="bidirectional", batch=2),
    "lstm unrolled": lambda: layer("LSTM", 5, True),
    "gru": lambda: layer("GRU", 5),
    "resnet": lambda: onnx.load(SAMPLES / "digits_resnet" / "digits_resnet.onnx"),
    "mobilenet": lambda: onnx.load(SAMPLES / "digits_mobilenet" / "digits_mobilenet.onnx"),
}


@interpreters
@pytest.mark.parametrize("name", NETWORKS)
def test_the_estimate_for_a_network(name: str, tmp_path: Path) -> None:
    agrees(NETWORKS[name](), tmp_path)


@interpreters
@pytest.mark.parametrize("name", ["mlperf_tiny_resnet8_cifar10", "mlperf_tiny_kws_dscnn"])
def test_the_estimate_for_the_benchmark(name: str, tmp_path: Path) -> None:
    if not (MODELS / name).exists():
        pytest.skip("the shared models are not here")
    agrees(onnx.load(MODELS / name / "model.onnx"), tmp_path)


FIRST = {case.op: case for case in reversed(list(cases()))}  # one instance of every operator


@interpreters
def test_the_estimate_for_every_operator(tmp_path: Path) -> None:
    for case in FIRST.values():
        agrees(case.model(), tmp_path)
