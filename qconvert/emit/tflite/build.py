"""A file under way: tensors, operators, and the view of every ONNX value that exists so far."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ...calibrate import QuantParams, quantize
from ...graph import Array
from .layout import Order, Shape, View, identity, merged_axes, same_memory
from .model import Op, Tensor
from .versions import version


def same_params(a: QuantParams | None, b: QuantParams | None) -> bool:
    """Whether equal codes stand for equal values."""
    if a is None or b is None:
        return a is b
    return (
        a.format.dtype == b.format.dtype
        and np.array_equal(a.scale, b.scale)
        and np.array_equal(a.zero_point, b.zero_point)
    )


TRANSPOSE_RANK = 5  # TFLM's kernel takes no more axes


class Builder:
    """Collects tensors and operators; equal constants become one tensor."""

    def __init__(self) -> None:
        self.tensors: list[Tensor] = []
        self.ops: list[Op] = []
        self.loose: set[int] = (
            set()
        )  # inputs of the file that no operator has read yet: their shape may still be declared anew
        self._constants: dict[tuple[Any, ...], int] = {}
        self._moved: dict[tuple[int, Shape, Order], int] = {}
        self._requantized: dict[tuple[int, float, int, str], int] = {}

    # --- tensors -------------------------------------------------------------------------------------------------------

    def tensor(self, name: str, shape: Shape, params: QuantParams | None, dtype: str = "") -> int:
        """A new activation."""
        scale, zero = (None, None) if params is None else (np.asarray(params.scale), np.asarray(params.zero_point))
        self.tensors.append(
            Tensor(name, tuple(shape), dtype or (params.format.dtype if params else "float32"), scale, zero)
        )
        return len(self.tensors) - 1

    def variable(self, name: str, shape: Shape, params: QuantParams, codes: Array) -> int:
        """A tensor that a kernel changes in place, given these codes anew in every run.

        QUANTIZE copies them: LiteRT takes a RESHAPE of a constant for a constant, TFLM's FILL knows float only.
        """
        scale, zero = np.asarray(params.scale), np.asarray(params.zero_point)
        self.tensors.append(Tensor(name, shape, params.format.dtype, scale, zero, variable=True))
        made = len(self.tensors) - 1
        self.op("QUANTIZE", (self.constant(codes, params.format.dtype, scale, zero),), (made,))
        return made

    def constant(
        self, data: Array, dtype: str = "", scale: Array | None = None, zero: Array | None = None, axis: int = 0
    ) -> int:
        """A constant; the same one for the same content."""
        dtype = dtype or str(data.dtype)
        if scale is not None and zero is None:
            zero = np.zeros(scale.shape, np.int64)
        key = (
            data.shape,
            dtype,
            data.tobytes(),
            axis,
            None if scale is None else scale.tobytes(),
            None if zero is None else zero.tobytes(),
        )
        if key not in self._constants:
            self.tensors.append(Tensor("", data.shape, dtype, scale, zero, axis, data))
            self._constants[key] = len(self.tensors) - 1
        return self._constants[key]

    def quantized(self, values: Array, params: QuantParams) -> int:
        """A constant in one scale."""
        return self.constant(
            quantize(values, params), params.format.dtype, np.asarray(params.scale), np.asarray(params.zero_point)
        )

    def integers(self, values: Any) -> int:
        """An int32 constant such as a list of axes."""
        return self.constant(np.asarray(values, np.int32))

    # --- operators -----------------------------------------------------------------------------------------------------

    def op(
        self,
        name: str,
        inputs: Sequence[int],
        outputs: Sequence[int],
        options: Mapping[str, Any] | None = None,
        intermediates: tuple[int, ...] = (),
    ) -> None:
        """Append an operator whose output tensors exist."""
        given = options or {}
        self.loose -= set(inputs)
        number = version(
            name, given, [self.tensors[i] if i >= 0 else None for i in inputs], [self.tensors[o] for o in outputs]
        )
        self.ops.append(Op(name, tuple(inputs), tuple(outputs), given, number, intermediates))

    def emit(
        self,
        name: str,
        inputs: Sequence[int],
        shape: Shape,
        params: QuantParams | None,
        options: Mapping[str, Any] | None = None,
        label: str = "",
        dtype: str = "",
    ) -> int:
        """Append an operator with one new output tensor and return that."""
        out = self.tensor(label, shape, params, dtype)
        self.op(name, inputs, (out,), options)
        return out

    # --- layouts -------------------------------------------------------------------------------------------------------

    def settled(self, view: View) -> View:
        """The view without a pending reshape."""
        if view.base is None:
            return view
        start = self.at(view.base, identity(len(view.base.shape)))
        return View(start, view.shape, identity(len(view.shape)), view.params)

    def at(self, view: View, order: Order) -> int:
        """The tensor that holds the value in the given order, with exactly that shape."""
        view = self.settled(view)
        wanted = tuple(view.shape[o] for o in order)
        if same_memory(view.shape, view.order, order):
            return self._declared(view.tensor, wanted, view.params)
        key = (view.tensor, view.shape, (*view.order, -1, *order))
        if key not in self._moved:
            self._moved[key] = self._transposed(view, order)
        return self._declared(self._moved[key], wanted, view.params)

    def _declared(self, tensor: int, shape: Shape, params: QuantParams | None) -> int:
        """The same memory under another shape."""
        if self.tensors[tensor].shape == shape:
            return tensor
        if tensor in self.loose:
            self.tensors[tensor] = replace(self.tensors[tensor], shape=shape)
            return tensor
        key = (tensor, shape, ())
        if key not in self._moved:
            dtype = self.tensors[tensor].dtype
            self._moved[key] = self.emit(
                "RESHAPE",
                (tensor, self.integers(shape)),
                shape,
                params,
                {"shape": np.array(shape, np.int32)},
                dtype=dtype,
            )
        return self._moved[key]

    def _transposed(self, view: View, order: Order) -> int:
        """A real TRANSPOSE."""
        if len(order) <= TRANSPOSE_RANK:
            shape, moves = view.stored, tuple(view.order.index(o) for o in order)
        else:
            shape, moves = merged_axes(view.shape, view.order, order)
        start = self._declared(view.tensor, shape, view.params)
        result = tuple(shape[m] for m in moves)
        return self.emit(
            "TRANSPOSE", (start, self.integers(moves)), result, view.params, dtype=self.tensors[start].dtype
        )

    # --- scales --------------------------------------------------------------------------------------------------------

    def rescaled(self, view: View, params: QuantParams) -> View:
        """The value under other parameters: QUANTIZE where they differ."""
        if same_params(view.params, params):
            return view
        key = (view.tensor, float(params.scale), int(params.zero_point), params.format.dtype)
        if key not in self._requantized:
            self._requantized[key] = self.emit("QUANTIZE", (view.tensor,), self.tensors[view.tensor].shape, params)
        return view.on(self._requantized[key], params)
