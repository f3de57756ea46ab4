"""Number formats: what codes of few bits look like, and which of them a target gives to which tensor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

_FLOAT8_MOST = 448  # largest number of FLOAT8E4M3FN (ONNX, "Float stored in 8 bits")


@dataclass(frozen=True, slots=True)
class Format:
    """A number format of few bits: integers, or floats of 8 bits.

    Attributes:
        dtype: "uint8", "int8", "int16", "uint16", "int4", or "float8_e4m3fn".
        symmetric: zero point fixed to 0 (signed) or to the middle (unsigned).
        narrow: leave out the most negative code, so that the grid is symmetric.
        bits: number of bits that are used; fewer than those of the dtype for reduced ranges.
        exponents: the scale is a power of two with an exponent between these, as kernels want it that shift.
        least_scale: the smallest scale that the kernel computes with correctly.
    """

    dtype: str
    symmetric: bool
    narrow: bool = False
    bits: int = 8
    exponents: tuple[int, int] | None = None
    least_scale: float = 0.0

    @property
    def qmin(self) -> int:
        """Smallest code."""
        if self.floating:
            return -_FLOAT8_MOST
        return 0 if self.dtype.startswith("u") else -(1 << (self.bits - 1)) + int(self.narrow)

    @property
    def qmax(self) -> int:
        """Largest code."""
        if self.floating:
            return _FLOAT8_MOST
        return (1 << self.bits) - 1 if self.dtype.startswith("u") else (1 << (self.bits - 1)) - 1

    @property
    def width(self) -> int:
        """Bits of a stored code."""
        return 8 if self.floating else int(self.dtype.lstrip("uint"))

    @property
    def floating(self) -> bool:
        """Whether codes are floats themselves, closer together near zero."""
        return self.dtype.startswith("float")

    def __str__(self) -> str:
        return f"{self.dtype}{'' if self.symmetric else ' asymmetric'}"


@dataclass(frozen=True, slots=True)
class FixedScale:
    """Parameters that every kernel of an operator demands of its output, for one width of activations."""

    op: str
    bits: int
    scale: float
    zero_point: int


@dataclass(frozen=True, slots=True)
class LeastScale:
    """A kernel that overflows in output scales below `scale` / size of its axis."""

    op: str
    scale: float
    source: str


@dataclass(frozen=True, slots=True)
class InnerFormat:
    """Format of one output of an operator that only its kernel reads, such as the cell state of an LSTM.

    Its range is that of the data, whatever the range method.
    """

    op: str
    output: int
    format: Format


@dataclass(frozen=True, slots=True)
class Formats:
    """The number formats of a target's quantized tensors.

    Attributes:
        activation, weight: by default.
        bias: int32 in the scale of the accumulator, or left float.
        wide_activation: of activations that a rule gives 16 bits; None: they have 8 only.
        small_weight: of weights in integer arithmetic that a rule gives 4 bits; None: they have 8 only.
        per_channel: weights have one scale an output channel, not one a tensor.
        per_tensor: operators whose weights have one scale all the same, unless a rule says otherwise.
        fixed: outputs whose parameters the kernels dictate.
        least: outputs whose scale must not be small.
        inner: outputs that stay inside a kernel and have a format of their own.
    """

    activation: Format
    weight: Format
    bias: Literal["int32", "float"] = "int32"
    wide_activation: Format | None = None
    small_weight: Format | None = None
    per_channel: bool = True
    per_tensor: tuple[str, ...] = ()
    fixed: tuple[FixedScale, ...] = ()
    least: tuple[LeastScale, ...] = ()
    inner: tuple[InnerFormat, ...] = ()
