"""What is measured on a result, as values that go into the run record as they are."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer


def _finite(value: float | None) -> float | str | None:
    return value if value is None or abs(value) < float("inf") else str(value)


Number = Annotated[float, PlainSerializer(_finite, when_used="json")]  # JSON has no infinity and no NaN


class Value(BaseModel):
    """Base of every part of the run record: immutable, no unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=True)


class Interval(Value):
    """A 95 % confidence interval."""

    low: Number
    high: Number


class Metric(Value):
    """A task metric before and after.

    Attributes:
        drop: how much worse the result is, in the metric's own unit; negative if it is better.
        interval: of the drop, paired over samples; None where the metric is not a mean over samples.
    """

    name: str
    float_value: Number
    value: Number
    drop: Number
    higher_is_better: bool
    samples: int
    interval: Interval | None = None


class OutputFidelity(Value):
    """How close one output is to that of the FP32 model.

    Attributes:
        sqnr_db: signal power over noise power over all samples, in dB.
        cosine: mean over samples of the cosine between the flattened outputs.
        max_abs: largest absolute difference.
    """

    name: str
    sqnr_db: Number
    cosine: Number
    max_abs: Number


class Fidelity(Value):
    """How close the result is to the FP32 model, without labels.

    Attributes:
        sqnr_db: of all float outputs together, each output normalized by its own signal power (equal to the single output's
            figure where there is only one).
        agreement: share of samples (rows of the first output) with the same arg-max; None where an arg-max means nothing.
        part: "evaluation" or "calibration": which samples it was measured on.
    """

    sqnr_db: Number
    cosine: Number
    agreement: Number | None
    agreement_interval: Interval | None
    samples: int
    part: str
    outputs: tuple[OutputFidelity, ...]


class Size(Value):
    """Bytes on disk, external data included."""

    float_bytes: int
    bytes: int

    @property
    def ratio(self) -> float:
        """FP32 bytes over the result's bytes."""
        return self.float_bytes / self.bytes if self.bytes else 0.0


class Latency(Value):
    """Time of one run on this host, FP32 and result interleaved.

    Attributes:
        float_ms, ms: medians; float_p95_ms, p95_ms: 95th percentiles over rounds.
        ratio: median over rounds of FP32 time / result time, above 1 is faster; interval: quartiles of it.
        threads: threads of the sessions; clock: "cpu" (thread CPU time, for one thread) or "wall".
        on_target: the host is what the target means.
    """

    float_ms: Number
    ms: Number
    float_p95_ms: Number
    p95_ms: Number
    ratio: Number
    ratio_quartiles: tuple[Number, Number]
    rounds: int
    threads: int
    clock: str
    host: str
    on_target: bool


class Layer(Value):
    """Error of one quantized tensor in the deployed artefact against FP32, errors of all earlier layers included.

    Attributes:
        before: the nearest measured tensors that it is computed from.
    """

    tensor: str
    node: str
    op: str
    sqnr_db: Number
    before: tuple[str, ...] = ()


class Emulation(Value):
    """The result on an emulated core.

    Attributes:
        core, title: which; samples: that were run.
        identical: every output equals that of this host bit for bit; sqnr_db: how far they are apart.
        float_instructions, instructions: executed by one inference, FP32 and result; None where they were not counted. A
            proxy of time: it knows neither latencies nor memory.
    """

    core: str
    title: str
    samples: int
    identical: bool
    sqnr_db: Number
    float_instructions: int | None
    instructions: int | None

    @property
    def ratio(self) -> float | None:
        """FP32 instructions over those of the result."""
        if not self.instructions or self.float_instructions is None:
            return None
        return self.float_instructions / self.instructions


class OperatorTime(Value):
    """Time of all nodes of one operator in one run.

    Attributes:
        op: name of the operator in the graph that the runtime executes, such as QLinearConv.
    """

    op: str
    count: int
    us: Number


class Profile(Value):
    """Time by operator, FP32 and result: means of profiled runs, scaled so that they add up to the measured latency."""

    float_ops: tuple[OperatorTime, ...]
    ops: tuple[OperatorTime, ...]
    runs: int


class Example(Value):
    """A sample whose answer changed, or one of those furthest from FP32.

    Attributes:
        changed: the arg-max of one of its rows is not that of FP32.
        label: its label, where that is one number or word.
        float_class, result_class: arg-max of the first row that changed (else of the first row), None without classes.
        float_score, result_score: share of that class, 0..1, each model for its own.
        image: small picture as a `data:` address, "" where the sample is none.
    """

    id: str
    sqnr_db: Number
    changed: bool = False
    label: str | None = None
    float_class: int | None = None
    result_class: int | None = None
    float_score: Number | None = None
    result_score: Number | None = None
    image: str = ""


class ClassChange(Value):
    """How often the result chose another class than FP32."""

    float_class: int
    result_class: int
    count: int


class Confused(Value):
    """Rows of a label that were answered by a class, by FP32 and by the result."""

    label: int
    answer: int
    float_count: int
    count: int


class Confusion(Value):
    """Labels against answers.

    Attributes:
        classes: those that occur as labels or answers, where there are few of them; () otherwise.
        float_counts, counts: rows by label (outer) and answer (inner), in the order of `classes`.
        pairs: the most frequent wrong answers of the result, then of FP32.
    """

    classes: tuple[int, ...] = ()
    float_counts: tuple[tuple[int, ...], ...] = ()
    counts: tuple[tuple[int, ...], ...] = ()
    pairs: tuple[Confused, ...] = ()


class Examples(Value):
    """Where the answers changed.

    Attributes:
        rows, changed: rows with an arg-max and those whose arg-max changed; None where an arg-max means nothing.
        changes: the most frequent pairs.
        shown: samples whose arg-max changed, surest ones of FP32 first, then those furthest from FP32.
        confusion: labels against answers; None without labels that are class numbers.
        names: names of the classes that are spoken of, as far as they are known.
    """

    rows: int | None = None
    changed: int | None = None
    changes: tuple[ClassChange, ...] = ()
    shown: tuple[Example, ...] = ()
    confusion: Confusion | None = None
    names: dict[int, str] = Field(default_factory=dict)


class Measurements(Value):
    """Everything that was measured."""

    fidelity: Fidelity | None = None
    metrics: tuple[Metric, ...] = ()
    size: Size | None = None
    latency: Latency | None = None
    layers: tuple[Layer, ...] = ()
    profile: Profile | None = None
    examples: Examples | None = None
    emulated: tuple[Emulation, ...] = ()


class GateResult(Value):
    """What became of one limit of the recipe.

    Attributes:
        name: key under `gates:`.
        limit: the limit as given there.
        value: the figure that was measured; None where there is none, which counts as failed.
        text: the figure and the limit in words, for a report line.
    """

    name: str
    limit: Number
    value: Number | None
    passed: bool
    text: str


class Baseline(Value):
    """What gates need to know of an earlier result.

    Attributes:
        name: of its report, for messages.
        metrics, sqnr_db, bytes, speedup, integer_share: its figures; None or empty where they were not measured.
        host: where it was timed, "" if it was not.
    """

    name: str
    metrics: tuple[Metric, ...] = ()
    sqnr_db: Number | None = None
    bytes: int | None = None
    speedup: Number | None = None
    host: str = ""
    integer_share: Number | None = None
