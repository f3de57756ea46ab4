"""The recipe as frozen types. Defaults here are the defaults of the tool; presets and recipes only say what differs."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator
from pydantic.config import JsonDict

from ..data.settings import DatasetSettings, Settings
from .vocabulary import Names, Wanted

PERCENT = r"^[0-9]{1,9}(\.[0-9]{1,17})? ?%$"

HALVES = ("float16", "bfloat16")
SOMETHING: JsonDict = {"minProperties": 1}
Levels = Literal["k-means", "quantile", "matched", "logarithmic", "power-of-two", "ternary", "binary", "nvfp4", "mxfp8"]
Bits = Annotated[int, Field(ge=1, le=8)]
Block = Annotated[int, Field(ge=0)]


def _percent(value: Any) -> Any:
    """`1%` as 0.01; anything else unchanged, for the type to judge."""
    return float(value.rstrip("% ")) / 100 if isinstance(value, str) and re.match(PERCENT, value) else value


def _pattern(value: str) -> str:
    """Refuse a `re:` pattern that is no regular expression."""
    if value.startswith("re:"):
        try:
            re.compile(value[3:])
        except (re.error, RecursionError, OverflowError) as error:
            raise ValueError(f"not a regular expression ({error}): {value}") from error
    return value


Percent = Annotated[
    float,
    BeforeValidator(
        _percent, json_schema_input_type=Annotated[float, Field(ge=0)] | Annotated[str, Field(pattern=PERCENT)]
    ),
    Field(ge=0),
    Wanted("a number of at least 0 or a percentage such as `1%`"),
]
Pattern = Annotated[str, AfterValidator(_pattern)]
TargetName = Annotated[str, Names("targets")]
FileFormat = Annotated[str, Names("formats")]
Method = Annotated[str, Names("methods")]
MetricName = Annotated[str, Names("metrics", functions=True)]
AlgorithmName = Annotated[str, Names("algorithms")]
Report = Annotated[str, Names("reports")]


class Calibration(Settings):
    """How ranges are found from the statistics of the calibration pass."""

    method: Method = Field(default="mse", description="range method for activations: {methods}")
    percentile: Annotated[float, Field(gt=50, le=100)] = Field(
        default=99.99, description="percentile: share of values inside the range, in percent"
    )
    weights: Literal["mse", "min-max", "hqq"] = Field(
        default="mse",
        description="range method for weights, per channel or block; hqq: below 7 bits, under a norm that forgives outliers",
    )
    scales: Literal["any", "power-of-two"] = Field(
        default="any", description="power-of-two: for hardware that shifts instead of multiplying; costs up to one bit"
    )
    given: Literal["refine", "keep", "ignore"] = Field(
        default="refine",
        description="ranges that come with a quantized model or a table: refine: the start of the algorithms, final where there is no data; keep: final, for models that were trained with them; ignore: measured anew",
    )

    read: str | None = Field(
        default=None,
        description="file with ranges that are known: a calibration cache of TensorRT or AIMET's encodings (path relative to this file); they count as `given`",
    )
    write: tuple[Literal["tensorrt", "aimet"], ...] = Field(
        default=(), description="files to write the ranges to, beside the result"
    )

    def measured(self, method: str = "") -> Self:
        """The same with every range from data, by another method if one is named."""
        return self.model_copy(update={"given": "ignore", **({"method": method} if method else {})})


class Weights(Settings):
    """How weights are stored where no rule says otherwise; what is left open is the choice of the target's form."""

    bits: Bits | None = Field(default=None, description="bits of a weight; 8 where nothing else is asked for")
    block: Block | None = Field(
        default=None,
        description="weight-only: inputs of a neuron that share a scale, such as 32; 0 for one scale a channel",
    )
    symmetric: bool | None = Field(default=None, description="weight-only: no zero points")
    levels: Levels | None = Field(
        default=None,
        description="codebook: k-means (the default), quantile (as many values at each level), matched (to the normal distribution), logarithmic, power-of-two, ternary or binary; TensorRT: nvfp4 or mxfp8",
    )


class Match(Settings):
    """Which nodes or tensors a rule speaks of; all given conditions must hold."""

    op: Pattern | tuple[Pattern, ...] | None = Field(
        default=None, description="operator type such as Conv, glob or `re:`, or a list of them"
    )
    name: Pattern | tuple[Pattern, ...] | None = Field(
        default=None, description="node name, glob (`stem*`), or regular expression (`re:.*head.*`), or a list of them"
    )
    tensor: Pattern | tuple[Pattern, ...] | None = Field(
        default=None, description="tensor name, glob or `re:`, or a list of them"
    )
    between: tuple[str, str] | None = Field(
        default=None,
        description="region: every node on a path from the first named node or tensor to the second, ends included",
    )


class Change(Settings):
    """What a rule sets for the nodes or tensors that it matches; None leaves it as it was."""

    keep: Literal["float", "integer"] | None = Field(
        default=None, description="float: leave it float; integer: quantize it wherever a kernel exists, profit or not"
    )
    mode: Literal["static", "dynamic", "weight-only", "codebook"] | None = Field(
        default=None,
        description="static: ranges from calibration; dynamic: measured at run time (MatMul, Gemm); weight-only: float arithmetic, weights stored in few bits; codebook: as indices of a table",
    )
    precision: Literal["float32", "float16", "bfloat16"] | None = Field(
        default=None,
        description="in a model in 16-bit floats: float32 where those do not suffice, or the 16-bit type all the same",
    )
    bits: Literal[8, 16] | None = Field(default=None, description="bits of the activations")
    weight_bits: Bits | None = Field(default=None, description="bits of the weights, instead of `weights.bits`")
    block: Block | None = Field(default=None, description="instead of `weights.block`")
    levels: Levels | None = Field(default=None, description="instead of `weights.levels`")
    weight_symmetric: bool | None = Field(default=None, description="instead of `weights.symmetric`")
    symmetric: bool | None = Field(default=None, description="symmetric activations, zero point in the middle")
    granularity: Literal["per-channel", "per-tensor"] | None = Field(
        default=None, description="granularity of the weights' scales"
    )
    method: Method | None = Field(default=None, description="range method for the matched tensors: {methods}")


class Rule(Settings):
    """One entry of `rules:`; rules are applied in order, the last match wins."""

    match: Match = Field(
        description="which nodes or tensors; at least one condition, all given ones must hold",
        json_schema_extra=SOMETHING,
    )
    set: Change = Field(description="what is changed for them; at least one key", json_schema_extra=SOMETHING)

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if self.match == Match():
            raise ValueError('`match` needs at least one condition, such as `name: "*"` for every node')
        if self.set == Change():
            raise ValueError("`set` changes nothing")
        return self


class Evaluation(Settings):
    """What is measured on the result."""

    metric: MetricName | tuple[MetricName, ...] | None = Field(
        default=None, description="task metric: {metrics}, or `file.py:function`; by default found from the labels"
    )
    latency: bool = Field(default=True, description="time FP32 against the result on this host")
    layers: bool = Field(default=True, description="SQNR of every quantized tensor against FP32")
    threads: Annotated[int, Field(ge=1)] = Field(default=1, description="threads of the timed sessions")
    rounds: Annotated[int, Field(ge=1)] = Field(default=15, description="interleaved timing rounds")


def _bytes(value: Any) -> Any:
    """`64k` and `1M` as bytes; anything else unchanged, for the type to judge."""
    found = re.match(SIZE, value) if isinstance(value, str) else None
    return int(float(found[1]) * {"": 1, "k": 1024, "M": 1024**2}[found[2]]) if found else value


SIZE = r"^([0-9]{1,9}(?:\.[0-9]{1,3})?)(k|M)?$"
Size = Annotated[
    int,
    BeforeValidator(_bytes, json_schema_input_type=Annotated[int, Field(gt=0)] | Annotated[str, Field(pattern=SIZE)]),
    Field(gt=0),
    Wanted("a number of bytes, or one such as `64k` or `1M`"),
]


class Limits(Settings):
    """Memory of the device; choices between accuracy and memory are made within it, and a result beyond it is rejected."""

    arena: Size | None = Field(default=None, description="bytes of RAM for the tensor arena, such as `64k`")
    flash: Size | None = Field(default=None, description="bytes of flash for the model, such as `256k`")


class Regression(Settings):
    """Limits against an earlier run, whose result takes the place of FP32 in each of them."""

    report: str = Field(
        description="JSON report of the earlier run, relative to this file; `{target}` in it stands for the target"
    )
    metric_drop: Percent | None = Field(
        default=None, description="largest drop of the task metric against the earlier result, absolute"
    )
    sqnr: float | None = Field(
        default=None, description="smallest output SQNR minus that of the earlier result, in dB; -0.5 lets half a dB go"
    )
    size_ratio: Percent | None = Field(
        default=None, description="smallest size of the earlier result / size; 98% lets it grow by a fiftieth"
    )
    speedup: Percent | None = Field(
        default=None,
        description="smallest speedup / that of the earlier result, each over FP32 in its own run; on the same host only",
    )
    int8_macs: Percent | None = Field(
        default=None, description="smallest integer share of the multiply-accumulates / that of the earlier result"
    )


class Gates(Settings):
    """Limits that decide the exit code; a missing figure counts as failed."""

    metric_drop: Percent | None = Field(
        default=None,
        description="largest drop of the task metric against FP32, absolute, in the metric's unit (0.01 = one point of top-1); `1%` is 0.01",
    )
    sqnr: float | None = Field(default=None, description="smallest output SQNR in dB")
    size_ratio: Percent | None = Field(default=None, description="smallest FP32 size / quantized size")
    speedup: Percent | None = Field(default=None, description="smallest FP32 latency / quantized latency on this host")
    int8_macs: Percent | None = Field(
        default=None, description="smallest share of the multiply-accumulates in integer kernels, 0..1 or a percentage"
    )
    against: (
        Annotated[str | Regression, Wanted("the path of a report, or a mapping with `report` and limits")] | None
    ) = Field(
        default=None,
        description="an earlier run as baseline. `against: report.json` turns all limits beside it into limits against that run; a mapping has limits of its own, and those beside it stay limits against FP32",
    )

    @property
    def absolute(self) -> Gates:
        """The limits against FP32."""
        return Gates() if isinstance(self.against, str) else self.model_copy(update={"against": None})

    @property
    def regression(self) -> Regression | None:
        """The limits against an earlier run, None without one."""
        if not isinstance(self.against, str):
            return self.against
        return Regression(report=self.against, **self.model_dump(exclude={"against"}))


class Recipe(Settings):
    """A whole recipe, decoded and checked."""

    version: Literal[1] = Field(default=1, description="version of the recipe format")
    extends: str | None = Field(
        default=None,
        description="another recipe (path relative to this file) or the preset of a target; this file's keys override it",
    )
    target: TargetName = Field(default="x86-vnni", description="what the result is for: {targets}")
    targets: Annotated[
        tuple[TargetName | dict[TargetName, Any], ...],
        Wanted("a list of targets, each a name or `name: {what differs for it}`"),
    ] = Field(
        default=(),
        description="several targets at once, in place of `target`: names, or `name: {keys of this recipe that differ for it}`; `-o` is then a folder with one for each",
    )
    format: FileFormat | None = Field(
        default=None,
        description="format of the file: {formats}; by default the target's own. qdq: Q/DQ pairs; qoperator: QLinear* operators",
    )
    mode: Literal["auto", "static", "dynamic", "weight-only", "codebook", "float8", "float16", "bfloat16"] = Field(
        default="auto",
        description="auto: what the target recommends for the kind of model; static: ranges from calibration; dynamic: MatMul/Gemm ranges at run time; weight-only: float arithmetic, weights stored in few bits; codebook: weights stored as indices of a table of levels; float8: static ranges with FP8 (E4M3) in the place of integers; float16, bfloat16: no integers, 16-bit floats",
    )
    float8: Literal["e4m3", "e5m2"] = Field(
        default="e4m3",
        description="type of `mode: float8`; e5m2 has more range and a bit less, no target of today takes it",
    )
    weights: Weights = Field(default=Weights(), description="how weights are stored")
    precision: Literal["float32", "float16", "bfloat16"] = Field(
        default="float32",
        description="type of what stays float beside integers; 16 bits only where the target is strongly typed",
    )
    placement: Literal["profit", "everywhere"] = Field(
        default="profit",
        description="profit: integer where the cost model gains; everywhere: integer wherever a kernel exists",
    )
    integer_macs: Annotated[float, Field(ge=0, le=1)] = Field(
        default=0.95,
        description="least share of the multiply-accumulates that stays integer when layers are left float for speed; 0 for the fastest file",
    )
    shapes: dict[str, Annotated[int, Field(gt=0)]] = Field(
        default={}, description="sizes to plan and time with for symbolic dimensions, by name (`sequence: 128`)"
    )
    io: Literal["integer", "float", "half"] | None = Field(
        default=None,
        description="type of inputs and outputs: integer (unless told otherwise) or float where the whole file is integer; float (unless told otherwise) or half where it computes in 16-bit floats",
    )
    keep_layout: bool = Field(
        default=False,
        description="inputs and outputs keep the order of axes of the model, where the target would choose channels last",
    )
    limits: Limits = Field(default=Limits(), description="memory of the device")
    reduce_range: bool = Field(
        default=False,
        description="for x86 machines without VNNI: 7-bit weights in the layers whose 16-bit sums could saturate",
    )
    dataset: DatasetSettings = Field(default=DatasetSettings(), description="dataset: parts, preprocessing, labels")
    calibration: Calibration = Field(default=Calibration(), description="how ranges are found")
    rules: tuple[Rule, ...] = Field(
        default=(), description="exceptions for nodes, tensors or regions; the last match wins"
    )
    algorithms: Annotated[
        Literal["auto", "none"] | tuple[AlgorithmName | dict[AlgorithmName, Any], ...],
        Wanted("`auto`, `none` or a list of algorithms"),
    ] = Field(default="auto", description="accuracy algorithms in order: {algorithms}")
    verify: Literal["run", "emulate"] = Field(
        default="run",
        description="run: prove the result on this host; emulate: run it on emulated cores of the target too, if `qconvert emulator setup` has been run",
    )
    evaluation: Evaluation = Field(default=Evaluation(), description="what is measured")
    gates: Gates = Field(default=Gates(), description="limits that decide the exit code")
    report: tuple[Report, ...] = Field(default=(), description="extra reports beside the JSON: {reports}")

    @property
    def half(self) -> str | None:
        """The 16-bit type of what is not integer; None where that is float32."""
        wanted = self.mode if self.mode in HALVES else self.precision
        return wanted if wanted in HALVES else None

    @property
    def algorithm_names(self) -> tuple[str, ...]:
        """The listed algorithms, `auto` among them."""
        if isinstance(self.algorithms, str):
            return () if self.algorithms == "none" else (self.algorithms,)
        return tuple(entry if isinstance(entry, str) else next(iter(entry)) for entry in self.algorithms)
