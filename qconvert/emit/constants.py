"""Constants of an artefact under way: scales, zero points, weight codes and int32 biases, each stored once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TypeAlias

import numpy as np

from ..calibrate import QuantParams, params_for_scale
from ..graph import Array, Edit, Graph, Node, TensorType, Weight
from ..targets.formats import Format
from .weights import Layout, bias_codes, code_bits, float_codes, quantized

BIAS = Format("int32", symmetric=True, bits=32)
MICROSOFT = "com.microsoft"
INT8 = 3  # ONNX TensorProto.INT8

Key: TypeAlias = tuple[str, tuple[int, ...], bytes, bytes]


class Constants:
    """Adds constants to an edit and gives equal ones the same name.

    Args:
        ties: weights whose channels are those of another one, by name.
        axes: channel axis of each weight, by name; tied ones may lie the same way or across.
    """

    def __init__(
        self,
        edit: Edit,
        graph: Graph,
        ties: Mapping[str, str] | None = None,
        axes: Mapping[str, int | None] | None = None,
    ) -> None:
        self._edit, self._graph, self._ties, self._axes = edit, graph, ties or {}, axes or {}
        self._arrays: dict[tuple[str, tuple[int, ...], bytes], str] = {}
        self._codes: dict[tuple[str, int | None, Layout, Key], str] = {}
        self._operands: dict[tuple[str, int | None, Layout, Key], str] = {}
        self._biases: dict[tuple[str, Key], str] = {}

    def scale(self, params: QuantParams, hint: str) -> tuple[str, str]:
        """Names of the scale and the zero point, that of 4-bit codes in the int8 in which kernels read them."""
        zero = params.zero_point.astype(np.int8) if params.format.dtype == "int4" else params.zero_point
        return self.shared(params.scale, f"{hint}/scale"), self.shared(zero, f"{hint}/zero_point")

    def numbers(self, values: tuple[int, ...]) -> str:
        """Name of a row of int64, such as a shape."""
        return self.shared(np.array(values, dtype=np.int64), "shape")

    def shared(self, value: Array, hint: str) -> str:
        """Name of a constant; equal ones have the same."""
        value = np.ascontiguousarray(value).reshape(value.shape)
        key = (value.dtype.name, value.shape, value.tobytes())
        if key not in self._arrays:
            self._arrays[key] = self._edit.add_weight(hint, value)
        return self._arrays[key]

    def codes(self, name: str, params: QuantParams, layout: Layout = "own") -> str:
        """Name of the codes of a weight."""
        if layout.startswith("packed"):  # channels first, whatever the axis
            name = self.original(name)
            params = replace(params, axis=self._axes.get(name, params.axis))
        key = (name, params.axis, layout, value_of(params))
        if key not in self._codes:
            codes = quantized(self._graph.weights[name], params, layout)
            self._codes[key] = self._edit.add_weight(f"{name}/codes", codes)
        return self._codes[key]

    def part(self, name: str, params: QuantParams, low: int, bits: int) -> str:
        """Name of some bits of all codes of a weight, packed: [bytes, 1], or [codes] where they fill whole bytes."""
        return self._edit.add_weight(f"{name}/codes", code_bits(self._graph.weights[name], params, low, bits))

    def floats(self, name: str, params: QuantParams, dtype: str, turned: bool) -> str:
        """Name of the codes of a weight in a small float type."""
        return self._edit.add_weight(f"{name}/codes", float_codes(self._graph.weights[name], params, dtype, turned))

    def operand(self, name: str, params: QuantParams, layout: Layout = "own") -> str:
        """Name of the codes of a weight as an integer kernel reads them.

        No kernel multiplies int4, and behind a DequantizeLinear of int4 a layer runs in float. So codes of 4 bits are stored as
        such and read through a Cast to int8, which onnxruntime computes once when it loads the file.
        """
        if params.format.dtype != "int4":
            return self.codes(name, params, layout)
        key = (name, params.axis, layout, value_of(params))
        if key not in self._operands:
            stored, self._operands[key] = self.codes(name, params, layout), self._edit.fresh(f"{name}/int8")
            shape = self._graph.weight_shape(name)
            turned = (*shape[:-2], shape[-1], shape[-2]) if layout == "turned" else shape
            self._edit.set_type(self._operands[key], TensorType("int8", turned))
            node_name = self._edit.fresh_node(f"{name}/Cast")
            self._edit.add(Node("Cast", (stored,), (self._operands[key],), {"to": INT8}, node_name))
        return self._operands[key]

    def original(self, name: str) -> str:
        """The weight whose channels a tied one repeats, or itself."""
        original = self._ties.get(name, name)
        return original if original in self._graph.weights else name  # an algorithm may have replaced it

    def bias(self, name: str, params: QuantParams) -> str:
        """Name of the int32 codes of a bias, one a scale or, under a single scale, one an element."""
        key = (name, value_of(params))
        if key not in self._biases:
            bias = self._graph.weights[name].numpy().reshape(-1)
            row = np.broadcast_to(bias, (max(bias.size, params.scale.size),))
            self._biases[key] = self._edit.add_weight(f"{name}/codes", bias_codes(row, params.scale))
        return self._biases[key]


def value_of(params: QuantParams) -> Key:
    """What makes two sets of parameters equal (their channel axis aside)."""
    table = b"" if params.table is None else params.table.tobytes()
    return params.format.dtype, params.scale.shape, params.scale.tobytes(), params.zero_point.tobytes() + table


def bias_params(bias: Weight, reading: QuantParams, weight: QuantParams) -> QuantParams | None:
    """Parameters of a bias in the scale of the accumulator: input scale * weight scale (ONNX QLinearConv, ORT QGemm).

    Returns:
        None where the bias is no single row with one element a channel (or one for all), as for a Gemm whose rows differ.
    """
    scale = np.asarray(reading.scale * weight.scale)
    row = len(bias.shape) == 0 or int(bias.size) == bias.shape[-1]
    fits = scale.ndim == 0 or int(bias.size) in (1, scale.size)
    return params_for_scale(BIAS, scale, 0 if scale.ndim else None) if row and fits else None
