"""What a target is: formats, kernels with their limits and costs, placement rules and session configurations, all as data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Format:
    """An integer number format.

    Attributes:
        dtype: "uint8", "int8", "int16", "uint16", "int4".
        symmetric: zero point fixed to 0 (signed) or to the middle (unsigned).
        narrow: leave out the most negative code, so that the grid is symmetric.
        bits: number of bits that are used; fewer than those of the dtype for reduced ranges.
    """

    dtype: str
    symmetric: bool
    narrow: bool = False
    bits: int = 8

    @property
    def qmin(self) -> int:
        """Smallest code."""
        return 0 if self.dtype.startswith("u") else -(2 ** (self.bits - 1)) + int(self.narrow)

    @property
    def qmax(self) -> int:
        """Largest code."""
        return 2**self.bits - 1 if self.dtype.startswith("u") else 2 ** (self.bits - 1) - 1

    def __str__(self) -> str:
        return f"{self.dtype}{'' if self.symmetric else ' asymmetric'}"


@dataclass(frozen=True, slots=True)
class Limit:
    """A condition that a kernel puts on a call: the name of a predicate in `plan.limits` and its parameter."""

    name: str
    value: int | float | tuple[int, ...] | str = 0


@dataclass(frozen=True, slots=True)
class Kernel:
    """An integer kernel of the target.

    Attributes:
        op: ONNX operator.
        output: "integer": the kernel writes integers, so its output is quantized; "free": it writes integers or float, as its
            readers want; "raw": it writes float, and readers quantize for themselves.
        limits: conditions of the call; the first that fails is the reason for staying float.
        source: where the fact was read or measured.
    """

    op: str
    output: Literal["integer", "free", "raw"] = "integer"
    limits: tuple[Limit, ...] = ()
    source: str = ""


@dataclass(frozen=True, slots=True)
class Cost:
    """Time of one call in ns: fixed + mac*MACs + read*input elements + write*output elements + weight*weight elements."""

    fixed: float = 0.0
    mac: float = 0.0
    read: float = 0.0
    write: float = 0.0
    weight: float = 0.0


@dataclass(frozen=True, slots=True)
class CostRow:
    """Costs of one class of calls (see `plan.cost.classify`) in float, in integers, and with dynamic ranges.

    Attributes:
        pad_out, pad_in: channel counts are rounded up to these multiples, the kernels' block sizes, before counting MACs.
    """

    float: Cost
    integer: Cost | None = None
    dynamic: Cost | None = None
    pad_out: int = 1
    pad_in: int = 1


@dataclass(frozen=True, slots=True)
class CostModel:
    """Deterministic time model of a target; it never measures anything.

    Attributes:
        rows: class of call to costs; "other" serves classes without a row.
        quantize, dequantize: ns per element of a conversion, layout change included.
        relayout: ns per element extra where a 4-D tensor crosses between float and integer kernels, whose layouts differ.
        min_gain: share of the model's time that an integer layer must save to be worth its accuracy.
        source: where the figures come from.
    """

    rows: dict[str, CostRow]
    quantize: float
    dequantize: float
    relayout: float
    min_gain: float
    source: str


@dataclass(frozen=True, slots=True)
class Session:
    """A session configuration in which the result must load and run.

    Attributes:
        name: for messages.
        optimize: graph optimizations on.
        config: session configuration entries.
        deployed: the result's accuracy is judged in this one.
    """

    name: str
    optimize: bool = True
    config: tuple[tuple[str, str], ...] = ()
    deployed: bool = False


@dataclass(frozen=True, slots=True)
class Target:
    """Everything that is particular to one target. No other code knows a target's name."""

    name: str
    title: str
    activation: Format
    weight: Format
    kernels: tuple[Kernel, ...]
    sessions: tuple[Session, ...]
    checks: tuple[str, ...]
    source: str
    wide: Format | None = None  # 16-bit activations by rule
    bias: Literal["int32", "float"] = "int32"
    formats: tuple[str, ...] = ("qdq",)
    extension: str = ".onnx"
    per_channel: bool = True
    absorbs: tuple[str, ...] = ()  # clamps that vanish into the range of the quantized output
    dynamic: tuple[str, ...] = ()  # operators with a kernel that measures its ranges at run time
    attention_mode: Literal["static", "dynamic"] = "static"  # what `mode: auto` means for models with attention
    lookup: bool = False  # large constant tables read by Gather are stored in 8 bits, row by row
    residual_skip: bool = False  # a residual Add takes integers on its skip input only
    float_anchor: bool = False  # a float layer amid integers keeps float weights only behind a 16-bit carrier
    tie_concat: bool = False  # the inputs of Concat share one scale
    rewrites: tuple[str, ...] = ()
    cost: CostModel | None = None
    precisions: tuple[str, ...] = ("float32",)
    hosts: tuple[str, ...] = ()  # platform.machine() names on which a latency measured here speaks for the target
    try_with: str = ""  # the command that deploys or times the file on the target

    def kernels_of(self, op: str) -> tuple[Kernel, ...]:
        """Kernels for an operator, none if it stays float."""
        return tuple(k for k in self.kernels if k.op == op)
