"""The audit of files: what neither interpreter refuses, or only one of them."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from onnx import helper
from tflite_support import MODELS, artefact_of, feeds_of, onnx_model, random

from qconvert.emit.tflite import File, Op, Tensor, pack
from qconvert.errors import CODES, QConvertError
from qconvert.pipeline.lint import lint
from qconvert.verify.tflite_audit import audit
from qconvert.verify.tflite_read import read_tflite


@pytest.fixture
def file(tmp_path: Path) -> File:
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["c"], pads=[1, 1, 1, 1], strides=[2, 2], kernel_shape=[3, 3]),
        helper.make_node("Conv", ["c", "d", "e"], ["g"], group=4, kernel_shape=[1, 1]),
        helper.make_node("MaxPool", ["g"], ["m"], kernel_shape=[2, 2]),
        helper.make_node("Flatten", ["m"], ["f"]),
        helper.make_node("Gemm", ["f", "v", "u"], ["l"], transB=1),
        helper.make_node("Softmax", ["l"], ["y"]),
    ]
    weights = {
        "w": random(4, 3, 3, 3),
        "b": random(4),
        "d": random(4, 1, 1, 1),
        "e": random(4),
        "v": random(5, 36),
        "u": random(5),
    }
    model = onnx_model(nodes, {"x": (1, 3, 8, 8)}, ["y"], weights)
    return artefact_of(model, tmp_path, feeds_of(model, 4))[1].file


def put(file: File, number: int, **changes: object) -> File:
    tensors = list(file.tensors)
    tensors[number] = replace(tensors[number], **changes)  # type: ignore[arg-type]
    return replace(file, tensors=tuple(tensors))


def op(file: File, name: str) -> Op:
    return next(o for o in file.ops if o.name == name)


def scaled(tensor: Tensor, factor: float) -> np.ndarray:  # type: ignore[type-arg]
    assert tensor.scale is not None
    return tensor.scale * np.float32(factor)


Fault = Callable[[File], File]
FAULTS: dict[str, tuple[str, Fault]] = {
    "bias scale ten times off": (
        "C305",
        lambda f: put(f, op(f, "CONV_2D").inputs[2], scale=scaled(f.tensors[op(f, "CONV_2D").inputs[2]], 10)),
    ),
    "bias of a product off": (
        "C305",
        lambda f: put(
            f, op(f, "FULLY_CONNECTED").inputs[2], scale=scaled(f.tensors[op(f, "FULLY_CONNECTED").inputs[2]], 1.05)
        ),
    ),
    "bias with a zero point": ("C305", lambda f: put(f, op(f, "CONV_2D").inputs[2], zero_point=np.ones(4, np.int64))),
    "bias axis 3": ("C306", lambda f: put(f, op(f, "DEPTHWISE_CONV_2D").inputs[2], axis=3)),
    "depthwise weight axis 0": ("C306", lambda f: put(f, op(f, "DEPTHWISE_CONV_2D").inputs[1], axis=0)),
    "weight zero point": ("C304", lambda f: put(f, op(f, "CONV_2D").inputs[1], zero_point=np.ones(4, np.int64))),
    "weight code -128": (
        "C311",
        lambda f: put(f, op(f, "CONV_2D").inputs[1], data=np.full((4, 3, 3, 3), -128, np.int8)),
    ),
    "rescaling pad": (
        "C307",
        lambda f: put(f, op(f, "PAD").outputs[0], scale=scaled(f.tensors[op(f, "PAD").outputs[0]], 2)),
    ),
    "rescaling pool": (
        "C307",
        lambda f: put(f, op(f, "MAX_POOL_2D").outputs[0], scale=scaled(f.tensors[op(f, "MAX_POOL_2D").outputs[0]], 2)),
    ),
    "softmax scale": ("C308", lambda f: put(f, op(f, "SOFTMAX").outputs[0], scale=np.array([1 / 255], np.float32))),
    "float tensor": (
        "C302",
        lambda f: put(f, op(f, "MAX_POOL_2D").outputs[0], dtype="float32", scale=None, zero_point=None),
    ),
    "no scale": ("C303", lambda f: put(f, op(f, "MAX_POOL_2D").outputs[0], scale=None, zero_point=None)),
    "scale zero": ("C303", lambda f: put(f, f.inputs[0], scale=np.zeros(1, np.float32))),
    "zero point out of range": ("C304", lambda f: put(f, f.inputs[0], zero_point=np.full(1, 200))),
    "eleven inputs": (
        "C312",
        lambda f: replace(f, ops=(*f.ops, Op("CONCATENATION", (f.inputs[0],) * 11, (f.inputs[0],), {"axis": 3}))),
    ),
    "rank 6": (
        "C312",
        lambda f: replace(
            put(f, f.outputs[0], shape=(1,) * 6),
            ops=(*f.ops, Op("TRANSPOSE", (f.inputs[0], f.inputs[0]), (f.outputs[0],))),
        ),
    ),
}


def test_a_good_file_has_no_findings(file: File) -> None:
    assert audit(pack(file)) == ()


@pytest.mark.parametrize("fault", FAULTS)
def test_every_broken_rule_is_found(file: File, fault: str) -> None:
    code, apply = FAULTS[fault]
    found = audit(pack(apply(file)))
    assert code in {d.code for d in found}
    assert all(d.code in CODES and d.where for d in found)


def test_buffers_are_aligned_and_an_unaligned_one_is_found(file: File) -> None:
    data = pack(file)
    assert read_tflite(data).misaligned == ()
    shifted = data[:8] + b"\0" * 8 + data[8:]  # every offset but the root's is relative
    shifted = (int.from_bytes(data[:4], "little") + 8).to_bytes(4, "little") + shifted[4:]
    assert {d.code for d in audit(shifted)} == {"C310"}


@pytest.mark.parametrize(
    "data", [b"", b"not a model at all", b"\x20\0\0\0TFL3" + b"\xff" * 64, b"\x08\0\0\0TFL3\x04\0\0\0"]
)
def test_damaged_files_are_refused(data: bytes) -> None:
    with pytest.raises(QConvertError) as caught:
        audit(data)
    assert caught.value.diagnostics[0].code == "M002"


def test_truncated_files_never_crash(file: File) -> None:
    data = pack(file)
    codes = set()
    for end in range(0, len(data), 97):
        try:
            audit(data[:end])
        except QConvertError as error:
            codes.add(error.diagnostics[0].code)
    assert codes == {"M002"}


@pytest.mark.parametrize("name", ["mlperf_tiny_resnet8_cifar10", "mlperf_tiny_kws_dscnn"])
def test_official_files_keep_the_rules(name: str) -> None:
    path = MODELS / name / "reference_int8.tflite"
    if not path.exists():
        pytest.skip("the shared models are not here")
    assert {d.code for d in lint(path, "tflite-micro")} <= {"C310"}


def test_the_schema_table_is_that_of_the_runtime() -> None:
    schema = pytest.importorskip("ai_edge_litert.schema_py_generated")
    from qconvert.emit.tflite.schema import OPERATORS, TABLES, TENSOR_TYPES, slots

    for name, row in OPERATORS.items():
        assert getattr(schema.BuiltinOperator, name) == row.code
        assert not row.options or getattr(schema.BuiltinOptions, row.options) == row.union
    for name, number in TENSOR_TYPES.items():
        assert getattr(schema.TensorType, name.upper()) == number
    for table in TABLES:
        assert hasattr(schema, table)
        assert len([s for s in slots(table) if s]) <= len([n for n in dir(schema) if n.startswith(f"{table}Add")])


def test_the_file_reads_back_with_the_runtimes_own_schema(file: File) -> None:
    schema = pytest.importorskip("ai_edge_litert.schema_py_generated")
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(pack(file), 0))
    graph = model.subgraphs[0]
    assert [list(t.shape) for t in graph.tensors] == [list(t.shape) for t in file.tensors]
    names = [
        next(
            n
            for n in vars(schema.BuiltinOperator)
            if vars(schema.BuiltinOperator)[n] == model.operatorCodes[o.opcodeIndex].builtinCode
        )
        for o in graph.operators
    ]
    assert names == [o.name for o in file.ops]
    conv = graph.operators[names.index("CONV_2D")].builtinOptions
    assert (conv.strideH, conv.strideW, conv.padding) == (2, 2, 1)
