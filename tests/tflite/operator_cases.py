"""Generated instances of every operator that the target claims: odd shapes, broadcasting, negative axes, each a small model."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from onnx import ModelProto, helper
from tflite_support import onnx_model, random

from qconvert.graph import Array


@dataclass
class Case:
    """One call between an input and an output.

    Attributes:
        least: smallest SQNR in dB that 8 bits explain.
        gap: largest difference in codes between the interpreters.
        places: its output is int64.
    """

    name: str
    op: str
    shapes: Sequence[Sequence[int]]
    attributes: dict[str, Any] = field(default_factory=dict)
    weights: dict[int, Array] = field(default_factory=dict)
    least: float = 30.0
    gap: int = 0
    outputs: int = 1
    spread: float = 1.0
    offset: float = 0.0
    opset: int = 17
    places: bool = False

    def model(self) -> ModelProto:
        """The call as a model; its inputs are x0, x1, ... and its constants w<index>."""
        count = len(self.shapes) + len(self.weights)
        last = max([count - 1, *self.weights])
        free = iter(range(len(self.shapes)))
        names = [
            f"w{i}" if i in self.weights else (f"x{n}" if (n := next(free, None)) is not None else "")
            for i in range(last + 1)
        ]
        outputs = [f"y{n}" for n in range(self.outputs)]
        node = helper.make_node(self.op, names, outputs, name="node", **self.attributes)
        return onnx_model(
            [node],
            {f"x{n}": s for n, s in enumerate(self.shapes)},
            outputs,
            {f"w{i}": a for i, a in self.weights.items()},
            self.opset,
            outputs if self.places else (),
        )


def ints(*values: int) -> Array:
    return np.array(values, np.int64)


def conv(name: str, size: Sequence[int], out: int, kernel: Sequence[int], group: int = 1, **attributes: Any) -> Case:
    weight = random(out, size[1] // group, *kernel, spread=0.3)
    return Case(f"conv {name}", "Conv", [size], {"group": group, **attributes}, {1: weight, 2: random(out)})


def cases() -> Iterator[Case]:
    """All instances."""
    yield conv("3x3", (1, 3, 9, 7), 5, (3, 3), pads=[1, 1, 1, 1])
    yield conv("3x3 stride 2 even", (1, 4, 8, 8), 6, (3, 3), pads=[1, 1, 1, 1], strides=[2, 2])
    yield conv("3x3 stride 2 odd", (1, 4, 9, 9), 6, (3, 3), pads=[1, 1, 1, 1], strides=[2, 2])
    yield conv("asymmetric pads", (1, 4, 9, 6), 6, (3, 2), pads=[0, 1, 2, 0])
    yield conv("valid", (1, 4, 9, 6), 6, (3, 2))
    yield conv("dilated", (1, 4, 13, 12), 6, (3, 3), dilations=[2, 3])
    yield conv("dilated same", (1, 4, 13, 12), 6, (3, 3), dilations=[2, 2], pads=[2, 2, 2, 2])
    yield conv("grouped", (1, 6, 7, 7), 9, (3, 3), group=3, pads=[1, 1, 1, 1])
    yield conv("depthwise", (1, 6, 7, 5), 6, (3, 3), group=6, pads=[1, 1, 1, 1])
    yield conv("depthwise multiplier", (1, 4, 7, 5), 12, (3, 3), group=4)
    yield conv("depthwise stride 2", (1, 4, 8, 8), 4, (3, 3), group=4, strides=[2, 2], pads=[1, 1, 1, 1])
    yield conv("1x1", (1, 16, 16, 16), 16, (1, 1))
    yield conv("one channel in", (1, 1, 16, 9), 8, (5, 3), strides=[2, 2])
    yield conv("line", (1, 5, 31), 7, (5,), pads=[2, 2])
    yield conv("line stride dilation", (1, 5, 31), 7, (3,), strides=[2], pads=[4, 0])
    yield conv("line dilated causal", (1, 5, 31), 7, (3,), dilations=[4], pads=[8, 0])
    yield conv("line depthwise", (1, 6, 17), 6, (3,), group=6, pads=[1, 1])
    yield Case("conv without bias", "Conv", [(1, 3, 8, 8)], {}, {1: random(4, 3, 3, 3)})

    def transposed(name: str, kernel: Sequence[int], bias: bool = True, **attributes: Any) -> Case:
        weights = {1: random(4, 3, *kernel, spread=0.3), **({2: random(3)} if bias else {})}
        return Case(
            f"conv transpose {name}",
            "ConvTranspose",
            [(1, 4, *((5, 6) if len(kernel) == 2 else (7,)))],
            attributes,
            weights,
        )

    yield transposed("stride 2", (2, 2), strides=[2, 2])
    yield transposed("pads", (3, 3), strides=[2, 2], pads=[1, 1, 1, 1])
    yield transposed("output padding", (3, 3), strides=[2, 2], pads=[1, 1, 1, 1], output_padding=[1, 1])
    yield transposed("odd pads", (4, 3), strides=[2, 1], pads=[1, 0, 2, 1])
    yield transposed("line", (4,), strides=[2], pads=[1, 1])
    yield transposed("no bias", (3, 3), bias=False)

    yield Case("gemm", "Gemm", [(1, 33)], {"transB": 1}, {1: random(10, 33), 2: random(10)}, gap=1)
    yield Case("gemm plain", "Gemm", [(3, 17)], {}, {1: random(17, 5), 2: random(5)}, gap=1)
    yield Case("matmul", "MatMul", [(1, 12)], {}, {1: random(12, 7)}, gap=1)
    yield Case("matmul rank 3", "MatMul", [(1, 5, 12)], {}, {1: random(12, 7)}, gap=1)
    yield Case("matmul rank 4", "MatMul", [(1, 2, 5, 12)], {}, {1: random(12, 7)}, gap=1)
    yield Case(
        "lstm",
        "LSTM",
        [(9, 1, 5)],
        {"hidden_size": 6},
        {1: random(1, 24, 5, spread=0.4), 2: random(1, 24, 6, spread=0.4), 3: random(1, 48, spread=0.3)},
        gap=1,
    )
    yield Case("batch matmul", "MatMul", [(1, 5, 6), (1, 6, 7)])
    yield Case("batch matmul rank 4", "MatMul", [(1, 3, 5, 6), (1, 3, 6, 4)])

    for op, least in (("Add", 30), ("Sub", 30), ("Mul", 30), ("Max", 28), ("Min", 28)):
        yield Case(f"{op} same shape", op, [(1, 3, 5, 4), (1, 3, 5, 4)], least=least)
        yield Case(f"{op} channels", op, [(1, 3, 5, 4), (1, 3, 1, 1)], least=least)
        yield Case(f"{op} broadcast both", op, [(1, 3, 1, 4), (1, 1, 5, 4)], least=least)
        yield Case(f"{op} lower rank", op, [(1, 3, 5, 4), (4,)], least=least)
        yield Case(f"{op} lower rank first", op, [(5, 1), (1, 3, 5, 4)], least=least)
        yield Case(f"{op} constant", op, [(1, 3, 5, 4)], {}, {1: random(3, 1, 1)}, least=least)
        yield Case(f"{op} constant first", op, [(1, 3, 5, 4)], {}, {0: random(1)}, least=least)
    yield Case("Sub small", "Sub", [(1, 7), (1, 7)])
    yield Case("Mul large scale", "Mul", [(1, 7), (1, 7)], spread=200.0)
    yield Case("Div", "Div", [(1, 3, 5, 4)], {}, {1: random(3, 1, 1, offset=4.0, spread=0.2)})
    yield Case("Pow 2", "Pow", [(1, 3, 5)], {}, {1: np.array(2.0, np.float32)})
    yield Case("Pow -0.5", "Pow", [(1, 3, 5)], {}, {1: np.array(-0.5, np.float32)}, offset=6.0, spread=0.8)
    yield Case("Reciprocal", "Reciprocal", [(1, 3, 5)], offset=6.0, spread=0.8)
    for op in ("Neg", "Abs", "Relu", "Sigmoid", "Tanh"):
        yield Case(op, op, [(1, 3, 5, 4)])
        yield Case(f"{op} odd rank", op, [(3, 7)])
    yield Case("HardSwish", "HardSwish", [(1, 3, 5, 4)], spread=2.0)
    yield Case("LeakyRelu", "LeakyRelu", [(1, 3, 5, 4)], {"alpha": 0.2})
    yield Case("Elu", "Elu", [(1, 3, 5, 4)])
    yield Case("PRelu channels", "PRelu", [(1, 3, 5, 4)], {}, {1: np.abs(random(3, 1, 1))})
    yield Case("PRelu one", "PRelu", [(1, 3, 5, 4)], {}, {1: np.array([0.25], np.float32)})
    yield Case("Clip 6", "Clip", [(1, 3, 5, 4)], {}, {1: np.float32(0), 2: np.float32(6)}, spread=4.0)
    yield Case("Clip odd", "Clip", [(1, 3, 5, 4)], {}, {1: np.float32(-0.5), 2: np.float32(1.25)})
    for axis in (-1, 1, 2, -2):
        yield Case(f"Softmax {axis}", "Softmax", [(1, 4, 5, 6)], {"axis": axis}, spread=2.0, least=25)
    yield Case("Softmax matrix", "Softmax", [(1, 10)], {"axis": 1}, spread=2.0, least=25)
    yield Case("LogSoftmax", "LogSoftmax", [(1, 10)], {"axis": -1})

    def pool(name: str, op: str, size: Sequence[int], gap: int = 0, **attributes: Any) -> Case:
        return Case(f"{op} {name}", op, [size], attributes, gap=gap, least=28)

    yield pool("2x2", "MaxPool", (1, 3, 8, 6), kernel_shape=[2, 2], strides=[2, 2])
    yield Case(
        "MaxPool pad 1 negative",
        "MaxPool",
        [(1, 3, 8, 8)],
        {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]},
        offset=-8.0,
    )
    yield pool("ceil", "MaxPool", (1, 3, 7, 7), kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1)
    yield pool("ceil 3", "MaxPool", (1, 3, 8, 8), kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1)
    yield pool("line", "MaxPool", (1, 3, 17), kernel_shape=[3], strides=[2])
    yield pool("2x2", "AveragePool", (1, 3, 8, 6), kernel_shape=[2, 2], strides=[2, 2])
    yield pool(
        "ceil include",
        "AveragePool",
        (1, 3, 7, 7),
        kernel_shape=[2, 2],
        strides=[2, 2],
        ceil_mode=1,
        count_include_pad=1,
    )
    yield pool("pads exclude", "AveragePool", (1, 3, 7, 7), kernel_shape=[3, 3], pads=[1, 1, 1, 1])
    yield pool("pads include", "AveragePool", (1, 3, 7, 7), kernel_shape=[3, 3], pads=[1, 1, 1, 1], count_include_pad=1)
    yield pool("odd pads exclude", "AveragePool", (1, 3, 8, 8), kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    yield pool("odd pads", "AveragePool", (1, 3, 7, 7), kernel_shape=[3, 2], pads=[2, 0, 0, 1])
    yield pool(
        "ceil and pads",
        "AveragePool",
        (1, 3, 8, 8),
        kernel_shape=[3, 3],
        strides=[2, 2],
        pads=[1, 1, 1, 1],
        ceil_mode=1,
        count_include_pad=1,
    )
    yield pool("line", "AveragePool", (1, 3, 16), kernel_shape=[4], strides=[4])
    yield Case("AveragePool whole", "AveragePool", [(1, 5, 4, 6)], {"kernel_shape": [4, 6]})
    yield Case("GlobalAveragePool", "GlobalAveragePool", [(1, 5, 4, 6)])
    yield Case("GlobalAveragePool line", "GlobalAveragePool", [(1, 5, 9)])
    yield Case("GlobalMaxPool", "GlobalMaxPool", [(1, 5, 4, 6)])
    for op in ("ReduceMean", "ReduceMax", "ReduceMin"):
        yield Case(f"{op} space", op, [(1, 5, 4, 6)], {"axes": [2, 3]})
        yield Case(f"{op} channel", op, [(1, 5, 4, 6)], {"axes": [1], "keepdims": 0})
        yield Case(f"{op} negative axis", op, [(1, 5, 6)], {"axes": [-1], "keepdims": 0})
    yield Case("ReduceSum", "ReduceSum", [(1, 5, 4, 6)], {"keepdims": 1}, {1: ints(-1, 1)})
    yield Case("Reshape", "Reshape", [(1, 4, 6)], {}, {1: ints(1, 3, 8)})
    yield Case("Flatten", "Flatten", [(1, 4, 3, 2)])
    yield Case("Squeeze", "Squeeze", [(1, 4, 1, 2)], {}, {1: ints(2)})
    yield Case("Unsqueeze", "Unsqueeze", [(1, 4)], {}, {1: ints(-1)})
    yield Case("Transpose", "Transpose", [(1, 4, 3, 2)], {"perm": [0, 3, 1, 2]})
    yield Case("Concat", "Concat", [(1, 4, 3), (1, 2, 3)], {"axis": 1})
    yield Case("Concat negative", "Concat", [(1, 4, 3, 3), (1, 4, 3, 2)], {"axis": -1})
    yield Case("Concat 12", "Concat", [(1, 2, 3)] * 12, {"axis": 1})
    yield Case("Concat constant", "Concat", [(1, 2, 3)], {"axis": 1}, {1: random(1, 1, 3)})
    yield Case("Split", "Split", [(1, 6, 4)], {"axis": 1}, {1: ints(2, 1, 3)}, outputs=3)
    yield Case("Split negative", "Split", [(1, 3, 4, 6)], {"axis": -1}, {1: ints(2, 4)}, outputs=2)
    yield Case("Slice", "Slice", [(1, 6, 5, 4)], {}, {1: ints(1, -3), 2: ints(5, 100), 3: ints(1, -2), 4: ints(2, 1)})
    yield Case("Slice backward", "Slice", [(1, 6, 5, 4)], {}, {1: ints(-1), 2: ints(-100), 3: ints(2), 4: ints(-1)})
    yield Case("Gather", "Gather", [(1, 6, 5)], {"axis": 1}, {1: ints(4, 0, -1)})
    yield Case("Gather scalar", "Gather", [(1, 6, 5)], {"axis": -1}, {1: np.array(2, np.int64)})
    for op in ("ArgMax", "ArgMin"):
        yield Case(op, op, [(1, 10)], {"axis": 1}, places=True)
        yield Case(f"{op} negative axis", op, [(1, 3, 4, 5)], {"axis": -1, "keepdims": 0}, places=True, least=12)
        yield Case(
            f"{op} space", op, [(1, 3, 4, 5)], {"axis": 2}, places=True, least=12
        )  # near ties; a wrong axis gives 3 dB
    yield Case("Pad", "Pad", [(1, 2, 4, 3)], {}, {1: ints(0, 0, 1, 2, 0, 0, 0, 1)})
    yield Case("Pad value", "Pad", [(1, 2, 4, 3)], {}, {1: ints(0, 0, 1, 2, 0, 0, 0, 1), 2: np.float32(0.5)})
    yield Case("Pad reflect", "Pad", [(1, 2, 4, 3)], {"mode": "reflect"}, {1: ints(0, 0, 1, 2, 0, 0, 0, 1)})
    yield Case("Expand", "Expand", [(1, 3, 1)], {}, {1: ints(1, 3, 5)})
    yield Case("DepthToSpace", "DepthToSpace", [(1, 8, 3, 2)], {"blocksize": 2})
    yield Case("SpaceToDepth", "SpaceToDepth", [(1, 2, 4, 6)], {"blocksize": 2})
    none = np.zeros(0, np.float32)

    def resize(name: str, scales: Sequence[float], **attributes: Any) -> Case:
        return Case(
            f"Resize {name}",
            "Resize",
            [(1, 2, 4, 5)],
            attributes,
            {1: none, 2: np.array([1, 1, *scales], np.float32)},
            gap=1,
        )

    yield resize(
        "nearest asymmetric", (2, 2), mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor"
    )
    yield resize("nearest half pixel", (2, 2), mode="nearest", coordinate_transformation_mode="half_pixel")
    yield resize(
        "nearest odd", (3, 1), mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor"
    )
    yield resize("linear half pixel", (2, 2), mode="linear", coordinate_transformation_mode="half_pixel")
    yield resize("linear asymmetric", (2, 2), mode="linear", coordinate_transformation_mode="asymmetric")
    yield resize("linear corners", (2, 3), mode="linear", coordinate_transformation_mode="align_corners")
