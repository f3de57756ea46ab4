"""What a target is: formats, kernels with their limits and costs, placement rules and session configurations, all as data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

_FLOAT8_MOST = 448  # largest number of FLOAT8E4M3FN (ONNX, "Float stored in 8 bits")
_DENSE = "no time, the kernels multiply zeros like any number; only a compressed archive of the file gets smaller"


@dataclass(frozen=True, slots=True)
class Format:
    """A number format of few bits: integers, or floats of 8 bits.

    Attributes:
        dtype: "uint8", "int8", "int16", "uint16", "int4", or "float8_e4m3fn".
        symmetric: zero point fixed to 0 (signed) or to the middle (unsigned).
        narrow: leave out the most negative code, so that the grid is symmetric.
        bits: number of bits that are used; fewer than those of the dtype for reduced ranges.
        exponents: the scale is a power of two with an exponent between these, as kernels want it that shift.
    """

    dtype: str
    symmetric: bool
    narrow: bool = False
    bits: int = 8
    exponents: tuple[int, int] | None = None

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
class WeightForm:
    """A way in which the target's runtime takes the weights of layers that compute in float.

    Attributes:
        store: how codes are written and rebuilt, a key of `emit.stored.STORES`.
        ops: operators whose weights may be stored so.
        format: the recipe's `format` that it belongs to: Q/DQ pairs are "qdq"; "" for any.
        bits: widths of the codes.
        blocks: numbers of inputs that may share a scale, 0 for one scale a channel.
        default_block: (bits, block): the largest block that is taken where the recipe leaves it open; one scale a channel for
            other widths.
        levels: kinds of tables that its codes may be indices of; "" for evenly spaced codes.
        asymmetric: zero points other than the middle are possible; they are the default, as they gain 0.1 to 1.5 dB at the
            outputs of transformers for the bits of one weight a block.
        divides: a block must divide the weights of a channel.
        packed: codes lie in bytes, channels first, so that a table and a product of the same numbers share them.
        opset: smallest that can express it.
        limits: conditions of the call.
        source: where the fact was read or measured.
    """

    store: str
    ops: tuple[str, ...]
    format: str
    bits: tuple[int, ...]
    blocks: tuple[int, ...]
    default_block: tuple[tuple[int, int], ...] = ()
    levels: tuple[str, ...] = ("",)
    asymmetric: bool = True
    divides: bool = False
    packed: bool = False
    opset: int = 13
    limits: tuple[Limit, ...] = ()
    source: str = ""


@dataclass(frozen=True, slots=True)
class Cost:
    """Time of one call in ns, linear in its sizes (see `plan.cost` for how they are counted).

    Attributes:
        fixed: of every call.
        mac, read, write, weight: of each multiply-accumulate, input, output and weight element.
        row: of each kernel row that is applied to one output row of 16 channels; pixel: of each output position; tap: of each output position and kernel position; column: of each element of the
            im2col matrix.
        out_block, in_block: multiples to which the kernel rounds up output channels, and input channels times kernel area.
        blocked: elements too are stored in blocks of out_block channels.
    """

    fixed: float = 0.0
    mac: float = 0.0
    read: float = 0.0
    write: float = 0.0
    weight: float = 0.0
    row: float = 0.0
    pixel: float = 0.0
    tap: float = 0.0
    column: float = 0.0
    out_block: int = 1
    in_block: int = 1
    blocked: bool = False


@dataclass(frozen=True, slots=True)
class CostModel:
    """Deterministic time model of a target; it never measures anything.

    Attributes:
        real, integer, dynamic: class of call in float, in integers, with dynamic ranges, to its cost; a class without a row falls back to a more general one.
        quantize, dequantize: one conversion of a tensor; relayout: added where a 4-D tensor crosses, as layouts differ.
        float_mac_price: how many times the average time of a multiply-accumulate must be saved by leaving one float.
        min_gain: share of the model's time that an integer layer must save to be worth its loss of accuracy.
        tail_price: share of the model's time that may be spent on leaving all float behind the last integer layer, where few
            values carry all of the result and rounding costs most.
        source: where the figures come from.
    """

    real: dict[str, Cost]
    integer: dict[str, Cost]
    dynamic: dict[str, Cost]
    quantize: Cost
    dequantize: Cost
    relayout: Cost
    float_mac_price: float
    min_gain: float
    tail_price: float
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
class FixedScale:
    """Parameters that every kernel of an operator demands of its output, for one width of activations."""

    op: str
    bits: int
    scale: float
    zero_point: int


@dataclass(frozen=True, slots=True)
class InnerFormat:
    """Format of one output of an operator that only its kernel reads, such as the cell state of an LSTM.

    Its range is that of the data, whatever the range method.
    """

    op: str
    output: int
    format: Format


@dataclass(frozen=True, slots=True)
class Float8:
    """Kernels and formats in 8-bit floats."""

    activation: Format
    weight: Format
    kernels: tuple[Kernel, ...]


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
    packages: tuple[str, ...] = ()  # optional packages that run or check the file; their versions go into the report
    narrow_only: tuple[str, ...] = ()  # operators without a kernel for 16-bit activations
    options: tuple[str, ...] = ()  # keys of the recipe that only some targets take: keep_layout, limits, reduce_range
    small_weight: Format | None = None  # 4-bit weights by rule, in integer arithmetic
    small_ops: tuple[str, ...] = ()  # operators with a kernel for them; none named: all
    weight_forms: tuple[WeightForm, ...] = ()  # of layers that compute in float, the preferred one first
    simulation: str = ""  # format in which onnxruntime runs the same numbers, where it cannot load the written one
    per_channel: bool = True
    absorbs: tuple[str, ...] = ()  # clamps that vanish into the range of the quantized output
    dynamic: tuple[str, ...] = ()  # operators with a kernel that measures its ranges at run time
    attention_mode: Literal["static", "dynamic"] = "static"  # what `mode: auto` means for models with attention
    residual_skip: bool = False  # a residual Add takes integers on its skip input only
    sum_before_norm: bool = (
        False  # residual additions in front of LayerNormalization are written as Sum (see `emit.norms`)
    )
    float_anchor: bool = False  # a float layer amid integers keeps float weights only behind a 16-bit carrier
    join_concat: bool = False  # what only a Concat reads is written in the scale of its result at once
    rewrites: tuple[str, ...] = ()
    rewrite_costs: tuple[
        tuple[str, CostModel], ...
    ] = ()  # rewrites that make hardly any difference here and pay elsewhere: the prices there decide, so that graphs are the same
    cost: CostModel | None = None
    precisions: tuple[str, ...] = ("float32",)  # of what stays float beside integers
    float8: Float8 | None = None  # what `mode: float8` puts in the place of integers
    halves: tuple[str, ...] = ()  # 16-bit types in which a whole model may run
    half_gain: str = ""  # what such a model does not gain on this target

    io: tuple[str, ...] = ()  # types of inputs and outputs that may be chosen
    deployed_here: bool = True  # the runtime that will run the file is the one at hand
    elsewhere: tuple[str, str] = ("", "")  # how results here compare with the target's: all integer, with float parts
    cores: tuple[str, ...] = ()  # emulated cores on which `verify: emulate` runs the result
    hosts: tuple[str, ...] = ()  # platform.machine() names on which a latency measured here speaks for the target
    try_with: str = ""  # the command that deploys or times the file on the target
    whole: bool = False  # every node must be integer; a model with any other is refused before data is read
    static_shapes: bool = False  # sizes are fixed in the file: the batch is 1, other open dimensions need `shapes:`
    lowers: tuple[str, ...] = ()  # rewrite rules that always run, whatever they cost
    same_scale: tuple[
        str, ...
    ] = ()  # operators that requantize elsewhere and whose kernel here keeps its input's scale
    fixed_scales: tuple[FixedScale, ...] = ()  # outputs whose parameters the kernels dictate
    inner_formats: tuple[InnerFormat, ...] = ()  # outputs that stay inside a kernel and have a format of their own
    per_tensor: tuple[str, ...] = ()  # operators whose weights have one scale unless a rule says otherwise
    sparsity: tuple[tuple[str, str], ...] = (  # pattern of zeros to what the runtime gains from it
        ("unstructured", _DENSE),
        ("2:4", _DENSE),
    )
    advice: tuple[tuple[str, str], ...] = ()  # operator or code of a reason to what to do instead, for the refusal

    def kernels_of(self, op: str) -> tuple[Kernel, ...]:
        """Kernels for an operator, none if it stays float."""
        return tuple(k for k in self.kernels if k.op == op)
