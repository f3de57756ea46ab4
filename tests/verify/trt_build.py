"""A small builder of Q/DQ graphs for the tests: every method returns the name of the value that it makes."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np

from qconvert.graph import Graph, Node, TensorType, infer_types, weight


class Net:
    """A graph under construction."""

    def __init__(self, opset: int = 21) -> None:
        self.opset = opset
        self.nodes: list[Node] = []
        self.inputs: list[str] = []
        self.weights: dict[str, Any] = {}
        self.types: dict[str, TensorType] = {}

    def input(self, *shape: int | str, name: str = "x", dtype: str = "float32") -> str:
        self.inputs.append(name)
        self.types[name] = TensorType(dtype, shape)
        return name

    def const(self, value: Any, name: str = "") -> str:
        name = name or f"c{len(self.weights)}"
        self.weights[name] = weight(np.asarray(value))
        return name

    def op(self, op: str, *inputs: str, name: str = "", outputs: int = 1, domain: str = "", **attributes: Any) -> str:
        name = name or f"{op.lower()}{len(self.nodes)}"
        outs = tuple(f"{name}_out{i or ''}" for i in range(outputs))
        self.nodes.append(Node(op, inputs, outs, attributes, name, domain))
        return outs[0]

    def pair(
        self,
        x: str,
        scale: Any = 0.1,
        *,
        zero: Any = 0,
        dtype: Any = np.int8,
        name: str = "",
        float_type: Any = np.float32,
        **attributes: Any,
    ) -> str:
        name = name or f"{x}_p{len(self.nodes)}"
        s = self.const(np.asarray(scale, float_type), f"{name}_s")
        z = self.const(np.full(np.shape(scale), zero).astype(dtype), f"{name}_z")
        q = self.op("QuantizeLinear", x, s, z, name=f"{name}_q", **attributes)
        return self.op("DequantizeLinear", q, s, z, name=f"{name}_dq", **attributes)

    def folded(
        self, shape: tuple[int, ...], axis: int, name: str = "", dtype: Any = np.int8, float_type: Any = np.float32
    ) -> str:
        """An integer weight behind a DQ, with a scale for each entry of `axis`."""
        name = name or f"w{len(self.nodes)}"
        data = self.const(np.ones(shape, dtype), f"{name}_int")
        s = self.const(np.linspace(0.01, 0.02, shape[axis]).astype(float_type), f"{name}_s")
        z = self.const(np.zeros(shape[axis], dtype), f"{name}_z")
        return self.op("DequantizeLinear", data, s, z, name=f"{name}_dq", axis=axis)

    def paired(self, shape: tuple[int, ...], axis: int, name: str = "") -> str:
        """A float weight with Q and DQ, with a scale for each entry of `axis`."""
        data = self.const(np.ones(shape, np.float32), f"{name or f'w{len(self.nodes)}'}_float")
        return self.pair(data, np.linspace(0.01, 0.02, shape[axis]), name=name, axis=axis)

    def conv(
        self,
        x: str,
        cin: int,
        cout: int,
        k: int = 3,
        group: int = 1,
        *,
        int8: bool = True,
        name: str = "",
        stride: int = 1,
    ) -> str:
        name = name or f"conv{len(self.nodes)}"
        shape = (cout, cin // group, k, k)
        w = self.folded(shape, 0, f"{name}_w") if int8 else self.const(np.ones(shape, np.float32), f"{name}_w")
        b = self.const(np.zeros(cout, np.float32), f"{name}_b")
        pads = (k // 2,) * 4
        return self.op(
            "Conv", x, w, b, name=name, kernel_shape=(k, k), pads=pads, group=group, strides=(stride, stride)
        )

    def dense(self, x: str, n_in: int, n_out: int, int8: bool = True, name: str = "") -> str:
        """A MatMul with its bias as an Add."""
        name = name or f"dense{len(self.nodes)}"
        w = self.folded((n_in, n_out), 1, f"{name}_w") if int8 else self.const(np.ones((n_in, n_out), np.float32))
        y = self.op("MatMul", x, w, name=name)
        return self.op("Add", y, self.const(np.zeros(n_out, np.float32)), name=f"{name}_bias")

    def graph(self, *outputs: str, infer: bool = True) -> Graph:
        graph = Graph(tuple(self.nodes), tuple(self.inputs), outputs, self.weights, self.types, {"": self.opset})
        return infer_types(graph) if infer else graph


INT4 = ml_dtypes.int4
FP8 = ml_dtypes.float8_e4m3fn
