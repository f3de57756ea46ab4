"""A decoder-shaped model of any size: attention and gated feed-forward layers with made-up weights, written as they are made."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from qconvert.graph import Array

HEADS, VOCABULARY = 16, 32_000
_POOL = (1 << 22) - 3  # odd, so that no two matrices hold the same stretch: equal weights are stored once
_ALIGNMENT = 65_536


class Decoder:
    """Builds a model whose weights go straight to a file beside it.

    Every matrix is a stretch of one pool of normal numbers, so that a file of gigabytes takes as long as writing it. It is as large
    as its embedding of 32,000 words and `layers` layers of 4 * width^2 + 3 * width * hidden weights.
    """

    def __init__(self, path: Path, width: int, hidden: int, layers: int, vocabulary: int = VOCABULARY) -> None:
        self._path, self._width, self._hidden, self._layers, self._words = path, width, hidden, layers, vocabulary
        self._nodes: list[onnx.NodeProto] = []
        self._weights: list[onnx.TensorProto] = []
        self._pool = np.random.default_rng(0).standard_normal(_POOL).astype(np.float32)
        self._at = 0

    def write(self) -> None:
        """Write the model and its data."""
        with self._path.with_name(self._path.name + ".data").open("wb") as self._file:
            value = self._node("Gather", self._matrix("embedding", self._words, self._width, 0.3), "tokens")
            for n in range(self._layers):
                value = self._layer(f"layer{n}", value)
            flat = self._node("Reshape", self._norm("last", value), self._constant(np.array([-1, self._width])))
            self._node("Gemm", flat, "embedding", name="logits", transB=1)
        inputs = [helper.make_tensor_value_info("tokens", TensorProto.INT64, ["batch", "sequence"])]
        outputs = [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [None, self._words])]
        graph = helper.make_graph(self._nodes, "decoder", inputs, outputs, self._weights)
        made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        self._path.write_bytes(made.SerializeToString())

    def _layer(self, name: str, value: str) -> str:
        w, head = self._width, self._width // HEADS
        shape = self._constant(np.array([0, -1, HEADS, head]))
        inner = self._norm(f"{name}.norm1", value)
        q, k, v = (self._linear(f"{name}.{part}", inner, w, w) for part in "qkv")
        split = [self._node("Reshape", part, shape) for part in (q, k, v)]
        q, v = (self._node("Transpose", part, perm=[0, 2, 1, 3]) for part in (split[0], split[2]))
        k = self._node("Transpose", split[1], perm=[0, 2, 3, 1])
        scores = self._node("Mul", self._node("MatMul", q, k), self._constant(np.float32(head**-0.5)))
        mixed = self._node("MatMul", self._node("Softmax", scores, axis=-1), v)
        joined = self._node(
            "Reshape", self._node("Transpose", mixed, perm=[0, 2, 1, 3]), self._constant(np.array([0, -1, w]))
        )
        value = self._node("Add", value, self._linear(f"{name}.o", joined, w, w))
        inner = self._norm(f"{name}.norm2", value)
        gate, up = (self._linear(f"{name}.{part}", inner, w, self._hidden) for part in ("gate", "up"))
        silu = self._node("Mul", gate, self._node("Sigmoid", gate))
        down = self._linear(f"{name}.down", self._node("Mul", silu, up), self._hidden, w)
        return self._node("Add", value, down)

    def _norm(self, name: str, value: str) -> str:
        square = self._node("Mul", value, value)
        mean = self._node("ReduceMean", square, axes=[-1], keepdims=1)
        root = self._node("Sqrt", self._node("Add", mean, self._constant(np.float32(1e-5))))
        scale = self._constant(np.ones(self._width, np.float32), f"{name}.weight")
        return self._node("Mul", self._node("Div", value, root), scale)

    def _linear(self, name: str, value: str, rows: int, columns: int) -> str:
        weight = self._matrix(f"{name}.weight", rows, columns, rows**-0.5)
        return self._node("MatMul", value, weight, name=name)

    def _node(self, op: str, *inputs: str, name: str = "", **attributes: object) -> str:
        output = name or f"{op}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(op, inputs, [output], name=output, **attributes))
        return output

    def _constant(self, value: Array, name: str = "") -> str:
        name = name or f"constant_{len(self._weights)}"
        self._weights.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def _matrix(self, name: str, rows: int, columns: int, spread: float) -> str:
        self._file.write(bytes(-self._file.tell() % _ALIGNMENT))
        place = {
            "location": self._file.name.rpartition("/")[2],
            "offset": self._file.tell(),
            "length": 4 * rows * columns,
        }
        missing = rows * columns
        while missing:
            part = self._pool[self._at : self._at + missing] * np.float32(spread)
            self._file.write(part.tobytes())
            missing -= part.size
            self._at = (self._at + part.size) % _POOL
        tensor = TensorProto(
            name=name, dims=[rows, columns], data_type=TensorProto.FLOAT, data_location=TensorProto.EXTERNAL
        )
        tensor.external_data.extend(onnx.StringStringEntryProto(key=k, value=str(v)) for k, v in place.items())
        self._weights.append(tensor)
        return name
