"""The run record: everything a run decided, proved and measured; the one source of every report."""

from __future__ import annotations

from typing import Any, Final, Literal, Self

from pydantic import Field

from ..errors import Diagnostic
from ..evaluate.model import GateResult, Measurements, Number, Value
from ..optimize.step import AlgorithmStep
from ..verify.model import Device, Readback, SessionProof

SCHEMA_VERSION: Final = 1


class Problem(Value):
    """A diagnostic, as the report shows it."""

    code: str
    severity: Literal["error", "warning", "note"]
    message: str
    where: str | None = None
    hint: str | None = None

    @classmethod
    def of(cls, found: Diagnostic) -> Self:
        """What was found, as text."""
        return cls(
            code=found.code, severity=found.severity.value, message=found.message, where=found.where, hint=found.hint
        )


class ModelInfo(Value):
    """The input model."""

    path: str
    sha256: str
    opset: int
    nodes: int
    parameters: int
    inputs: dict[str, str]
    outputs: dict[str, str]


class RewriteInfo(Value):
    """One canonicalization rule and what it did."""

    rule: str
    lines: tuple[str, ...]


class NodeInfo(Value):
    """What the plan made of a node.

    Attributes:
        reason: for float nodes, why; reason_code: its code for `qconvert explain`.
        float_us, us: predicted time in float and in the chosen form, None without a cost model.
    """

    name: str
    op: str
    kind: str
    reason_code: str = ""
    reason: str = ""
    macs: int = 0
    float_us: Number | None = None
    us: Number | None = None


class TensorInfo(Value):
    """A quantized activation."""

    name: str
    format: str
    group: int
    scale: Number | None = None
    zero_point: int | None = None
    low: Number | None = None
    high: Number | None = None


class PlanInfo(Value):
    """The plan, with what it predicts.

    Attributes:
        integer_share: share of the multiply-accumulates in integer kernels, 0..1.
        speedup: predicted FP32 time / predicted time, None without a cost model.
    """

    target: str
    format: str
    nodes: tuple[NodeInfo, ...]
    tensors: tuple[TensorInfo, ...]
    macs: int
    integer_share: Number
    float_bytes: int
    bytes: int
    speedup: Number | None = None
    cost_source: str = ""


class DataInfo(Value):
    """The dataset as it was used."""

    folder: str
    calibration_samples: int
    calibration_digest: str
    evaluation_samples: int
    evaluated_on: str


class Convergence(Value):
    """How far the calibration pass had come after some samples.

    Attributes:
        share: mean over tensors of the width of the values seen so far over the final width, 0..1.
    """

    samples: int
    share: Number


class CalibrationInfo(Value):
    """The calibration pass."""

    samples: int
    tensors: int
    method: str
    convergence: tuple[Convergence, ...] = ()


class Histogram(Value):
    """The values of a tensor and the range that its codes cover.

    Attributes:
        kind: "activation" or "weight".
        node: the reader of a weight, "" for activations.
        counts: in equal bins over [low, high], of a thinned subset of the values.
        range_low, range_high: what the codes reach. Weights with a scale for each channel are shown in units of their
            channel's own range, so that this is -1 to 1.
        clipped: share of the values beyond the range, 0..1.
        sqnr_db: of rounding and clipping this tensor alone.
        channels: number of scales; scale_low, scale_high: smallest and largest of them.
    """

    name: str
    kind: Literal["activation", "weight"]
    node: str = ""
    format: str
    low: Number
    high: Number
    counts: tuple[int, ...]
    range_low: Number
    range_high: Number
    clipped: Number
    sqnr_db: Number
    channels: int = 1
    scale_low: Number
    scale_high: Number


class TensorSize(Value):
    """Bytes of a weight before and after.

    Attributes:
        format: of its stored codes, or the element type where it stays float.
    """

    name: str
    format: str
    float_bytes: int
    bytes: int


class StageTime(Value):
    """Time of one stage."""

    name: str
    seconds: Number
    cpu_seconds: Number


class OutputInfo(Value):
    """A file that was written."""

    path: str
    bytes: int
    sha256: str


class HalfRange(Value):
    """A tensor with values that the 16-bit type does not hold as they are.

    Attributes:
        overflow: values beyond its largest number; subnormal: below its smallest normal one; lost: those that become zero.
        peak: largest magnitude.
        float32: it is computed in float32 for that or another reason.
    """

    name: str
    kind: Literal["activation", "weight"]
    size: int
    overflow: int
    subnormal: int
    lost: int
    peak: Number
    float32: bool


class Sparsity(Value):
    """Zeros among the weights of the layers that can be pruned, after rounding.

    Attributes:
        zeros: share of the weights that are zero, 0..1.
        two_of_four: share of the weights in layers with two zeros in every four neighbouring inputs, 0..1.
        gain: what the target's runtime makes of it.
    """

    layers: int
    zeros: Number
    two_of_four: Number
    gain: str


class RunRecord(Value):
    """Everything about one run; `schema_version` changes whenever a field changes its meaning or goes.

    Attributes:
        computed: how the figures of accuracy were computed, "" where the file ran in the runtime that it is for.
    """

    schema_version: Literal[1] = SCHEMA_VERSION
    tool_version: str
    status: Literal["done", "gates failed"]
    target: str
    model: ModelInfo
    recipe: dict[str, Any]
    rewrites: tuple[RewriteInfo, ...] = ()
    plan: PlanInfo
    data: DataInfo | None = None
    calibration: CalibrationInfo | None = None
    histograms: tuple[Histogram, ...] = ()
    sizes: tuple[TensorSize, ...] = ()
    algorithms: tuple[AlgorithmStep, ...] = ()
    sparsity: Sparsity | None = None
    half_ranges: tuple[HalfRange, ...] = ()
    proofs: tuple[SessionProof, ...] = ()
    readback: Readback | None = None
    forecast: str | None = None
    device: Device | None = None
    measurements: Measurements = Measurements()
    computed: str = ""
    gates: tuple[GateResult, ...] = ()
    diagnostics: tuple[Problem, ...] = ()
    outputs: tuple[OutputInfo, ...] = ()
    try_with: str = ""
    stages: tuple[StageTime, ...] = ()
    versions: dict[str, str] = Field(default_factory=dict)
    host: str = ""
