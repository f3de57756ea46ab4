"""A .tflite file as a value: tensors, operators, and how its inputs and outputs relate to those of the ONNX model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ...graph import Array


@dataclass(frozen=True, eq=False)
class Tensor:
    """One tensor.

    Attributes:
        dtype: as in `schema.TENSOR_TYPES`.
        scale, zero_point: None where nothing is quantized; arrays [C] along `axis`, or [1].
        data: content of a constant; int4 as one value a byte.
        variable: keeps its content from one run to the next.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    scale: Array | None = None
    zero_point: Array | None = None
    axis: int = 0
    data: Array | None = None
    variable: bool = False


@dataclass(frozen=True, eq=False)
class Op:
    """One operator call; an input of -1 is omitted."""

    name: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: Mapping[str, Any] = field(default_factory=dict)
    version: int = 1
    intermediates: tuple[int, ...] = ()


@dataclass(frozen=True, eq=False)
class File:
    """The content of a .tflite file with one subgraph."""

    tensors: tuple[Tensor, ...]
    ops: tuple[Op, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    description: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Binding:
    """How one input or output of the file stands for one of the ONNX model.

    Attributes:
        name: of the ONNX value; dtype: its element type there.
        shape: of the ONNX value; order: axis i of the file's tensor is axis order[i] of the ONNX value, unit axes aside.
        stored: shape of the file's tensor.
        scale, zero_point: of the file's tensor; scale 0 where it is not quantized.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    order: tuple[int, ...]
    stored: tuple[int, ...]
    stored_dtype: str
    scale: float = 0.0
    zero_point: int = 0


@dataclass(frozen=True, eq=False)
class Artefact:
    """What is written: the file's bytes and what the runner and the C sources need to know of it.

    Attributes:
        choices: what was decided between memory and speed, for people.
    """

    file: File
    data: bytes
    inputs: tuple[Binding, ...]
    outputs: tuple[Binding, ...]
    choices: tuple[str, ...] = ()
    widened: frozenset[str] = frozenset()

    @property
    def ops(self) -> tuple[str, ...]:
        """Distinct operators in order of their code, as a resolver needs them."""
        return tuple(sorted({op.name for op in self.file.ops}))
