"""What a file that is quantized already says about its tensors, as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from ..errors import Diagnostic
from ..graph import Array, Graph

_CODES = {"int4": (-8, 7), "uint4": (0, 15), "int2": (-2, 1), "uint2": (0, 3)}


@dataclass(frozen=True, slots=True)
class Grid:
    """Codes of a tensor: real = scale * (code - zero_point), ONNX QuantizeLinear.

    Attributes:
        dtype: NumPy name of the codes' type, "int8" or "uint16".
    """

    dtype: str
    scale: float
    zero_point: int


@dataclass(frozen=True, slots=True)
class Span:
    """Interval of an activation that is known before any data is seen.

    Attributes:
        grid: the codes that the interval comes from; None where it was computed from other intervals.
    """

    low: float
    high: float
    grid: Grid | None = None

    def joined(self, other: Span) -> Span:
        """The smallest interval with both; the codes are kept where both agree."""
        return Span(
            min(self.low, other.low), max(self.high, other.high), self.grid if self.grid == other.grid else None
        )

    def __str__(self) -> str:
        codes = f", {self.grid.dtype} scale {self.grid.scale:.6g} zero {self.grid.zero_point}" if self.grid else ""
        return f"[{self.low:.6g}, {self.high:.6g}]{codes}"


@dataclass(frozen=True, slots=True)
class WeightNote:
    """How a constant was stored: the type of its codes, the number of its scales and their axis."""

    dtype: str
    scales: int
    axis: int | None

    def __str__(self) -> str:
        return f"{self.dtype}, {self.scales} scales" + ("" if self.axis is None else f" along axis {self.axis}")


@dataclass(frozen=True, eq=False)
class Lifted:
    """A float graph and what the quantized one said beyond it.

    Attributes:
        source: the graph as it was loaded; graph: the same network in float. One object where nothing was quantized.
        spans: by tensor of `graph`, the interval that its codes stood for.
        weights: by constant of `graph`, how it was stored.
        notes: what a user should know.
    """

    source: Graph
    graph: Graph
    spans: Mapping[str, Span] = field(default_factory=dict)
    weights: Mapping[str, WeightNote] = field(default_factory=dict)
    notes: tuple[Diagnostic, ...] = ()

    @property
    def changed(self) -> bool:
        """Whether the file was quantized."""
        return self.graph is not self.source

    def __str__(self) -> str:
        parts = [f"{name}: {found}" for table in (self.spans, self.weights) for name, found in table.items()]
        return "\n".join(parts)


@dataclass(frozen=True, eq=False)
class Params:
    """Scale, zero point and axis of a tensor of codes.

    Attributes:
        scale: float32 [] or [C], [.., blocks, ..] for blocks; zero: int32, the same shape.
        axis: of the scales, None for one.
        block: elements of one block along the axis, 0 for none.
        low, high: codes beyond which values are cut.
    """

    dtype: str
    scale: Array
    zero: Array
    axis: int | None = None
    block: int = 0
    low: int = 0
    high: int = 0

    def same(self, other: Params) -> bool:
        """Whether both read codes alike."""
        sizes = self.scale.size == other.scale.size
        return (
            sizes
            and np.allclose(self.scale, other.scale, rtol=1e-5, atol=0)
            and np.array_equal(self.zero.reshape(-1), other.zero.reshape(-1))
        )

    def span(self) -> Span:
        """The interval of the codes; of the widest channel where there are several."""
        scale = self.scale.astype(np.float64)
        low, high = float((scale * (self.low - self.zero)).min()), float((scale * (self.high - self.zero)).max())
        whole = (self.low, self.high) == limits_of(self.dtype)
        grid = Grid(self.dtype, float(self.scale.reshape(-1)[0]), int(self.zero.reshape(-1)[0]))
        return Span(low, high, grid if whole and self.scale.size == 1 else None)

    def real(self, codes: Array) -> Array:
        """float32 values of codes."""
        scale, zero = (self._along(part, codes.shape) for part in (self.scale, self.zero))
        return np.asarray((codes.astype(np.float32) - zero.astype(np.float32)) * scale, dtype=np.float32)

    def codes(self, values: Array) -> Array:
        """int32 codes of values: round half to even, then saturate."""
        scale, zero = (self._along(part, values.shape) for part in (self.scale, self.zero))
        return np.asarray(np.clip(np.rint(values / scale) + zero, self.low, self.high).astype(np.int32))

    def _along(self, part: Array, shape: tuple[int, ...]) -> Array:
        """The part in a form that broadcasts against an array of the shape."""
        if self.block and self.axis is not None:
            return np.repeat(part, self.block, self.axis)[tuple(slice(n) for n in shape)]
        if part.size == 1:
            return part.reshape(())
        dims = [1] * len(shape)
        dims[self.axis or 0] = -1
        return part.reshape(dims)


def limits_of(dtype: str) -> tuple[int, int]:
    """Smallest and largest code of a type."""
    if dtype in _CODES:
        return _CODES[dtype]
    info = np.iinfo(dtype)
    return int(info.min), int(info.max)


def params_of(dtype: str, scale: Array, zero: Array | None, axis: int | None = None, block: int = 0) -> Params:
    """Parameters from what a node gives; an omitted zero point is 0."""
    scale = np.asarray(scale, dtype=np.float32)
    whole = np.zeros(scale.shape, np.int32) if zero is None else np.asarray(zero).astype(np.int32)
    flat = scale.size == 1 and not block
    if flat:
        scale, whole = scale.reshape(()), whole.reshape(-1)[:1].reshape(())
    return Params(dtype, scale, whole, None if flat else axis, block, *limits_of(dtype))
