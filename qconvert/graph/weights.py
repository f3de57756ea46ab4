"""Tensors of a model that are known before it runs: in memory, mapped from a file, or computed on demand."""

from __future__ import annotations

import mmap
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import onnx
from onnx import numpy_helper

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]


def _element_types() -> dict[int, str]:
    """ONNX element type to the NumPy name of its type, those of ml_dtypes ("int4", "bfloat16") included."""
    found = {}
    for code in onnx.TensorProto.DataType.values():
        try:
            found[code] = str(onnx.helper.tensor_dtype_to_np_dtype(code))
        except KeyError:  # UNDEFINED
            continue
    return {**found, onnx.TensorProto.STRING: "string"}


_NAMES = _element_types()
_CODES = {name: code for code, name in _NAMES.items()}
_PACKED_BITS = {"int4": 4, "uint4": 4, "float4_e2m1fn": 4, "int2": 2, "uint2": 2}


def dtype_name(code: int) -> str | None:
    """NumPy name of an ONNX element type; "string" has no NumPy equal; None where it is undefined or unknown."""
    return _NAMES.get(code)


def onnx_dtype(name: str) -> int:
    """ONNX element type for a NumPy name."""
    return _CODES[name]


def numpy_dtype(name: str) -> np.dtype[Any]:
    """NumPy type for a NumPy name, those of ml_dtypes included."""
    return np.dtype(onnx.helper.tensor_dtype_to_np_dtype(_CODES[name]))


@dataclass(frozen=True, eq=False)
class Weight(ABC):
    """A tensor whose content is read only when it is asked for.

    Attributes:
        dtype: NumPy name of the element type, as in `TensorType`.
        shape: of the array.
    """

    dtype: str
    shape: tuple[int, ...]

    @abstractmethod
    def numpy(self) -> Array:
        """The content; not to be written to."""

    @property
    def size(self) -> int:
        """Number of elements."""
        return prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes in a file; elements of less than a byte are packed there."""
        bits = _PACKED_BITS.get(self.dtype) or 8 * numpy_dtype(self.dtype).itemsize
        return (self.size * bits + 7) // 8

    def stored(self) -> memoryview:
        """The content as it lies in a file."""
        array = self.numpy()
        if self.dtype in _PACKED_BITS or array.dtype == object or array.dtype.byteorder == ">":
            return memoryview(numpy_helper.from_array(array).raw_data)
        return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data


@dataclass(frozen=True, eq=False)
class Held(Weight):
    """A weight in memory."""

    array: Array

    def numpy(self) -> Array:
        """The array itself."""
        return self.array


@dataclass(frozen=True, eq=False)
class Mapped(Weight):
    """A weight in a file of external data, mapped into memory each time it is read.

    Attributes:
        path: the file; offset: where the weight begins, in bytes.
    """

    path: Path
    offset: int

    def numpy(self) -> Array:
        """A view of the mapped file; a copy where elements are packed."""
        if not self.size:
            return np.empty(self.shape, numpy_dtype(self.dtype))
        with self.path.open("rb") as file:
            content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        if self.dtype not in _PACKED_BITS:
            return np.frombuffer(content, numpy_dtype(self.dtype), self.size, self.offset).reshape(self.shape)
        raw = content[self.offset : self.offset + self.nbytes]
        return numpy_helper.to_array(onnx.TensorProto(data_type=onnx_dtype(self.dtype), dims=self.shape, raw_data=raw))


@dataclass(frozen=True, eq=False)
class Lazy(Weight):
    """A weight that is computed each time it is read, so that a large model never holds all of them."""

    compute: Callable[[], Array]

    def numpy(self) -> Array:
        """The computed array."""
        return self.compute()


def weight(array: Array) -> Weight:
    """A weight held in memory."""
    name = "string" if array.dtype == object else str(array.dtype)
    return Held(name, array.shape, np.ascontiguousarray(array).reshape(array.shape))
