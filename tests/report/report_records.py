"""Run records for tests: a plain one, and any that the types allow."""

from __future__ import annotations

from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from hypothesis import strategies as st
from pydantic import BaseModel

from qconvert.evaluate.model import (
    ClassChange,
    Confused,
    Confusion,
    Example,
    Examples,
    Fidelity,
    GateResult,
    Interval,
    Latency,
    Layer,
    Measurements,
    Metric,
    OperatorTime,
    Profile,
    Size,
)
from qconvert.optimize.model import AlgorithmStep
from qconvert.report import RunRecord
from qconvert.report.comparison import Comparison
from qconvert.report.evaluation import EvaluatedModel, Evaluation
from qconvert.report.record import (
    CalibrationInfo,
    Convergence,
    Histogram,
    ModelInfo,
    NodeInfo,
    PlanInfo,
    Problem,
    StageTime,
    TensorInfo,
    TensorSize,
)
from qconvert.verify.model import Readback

PIXEL = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
NASTY = (
    "",
    "<evil onload='x()'>&amp;</evil>",
    "</script><script>alert(1)</script>",
    "]]>",
    "层/卷积_输出",
    "مرحبا",
    "a|b`c`\n# d\r\n- e",
    "{{ 7 * 7 }}{% raw %}",
    "=1+1",
    "\x00\x1b[31m\x9b\ufffe",
    "https://example.org/@team #1",
    "::error::no",
    "x" * 300,
)
TEXT = st.one_of(st.sampled_from(NASTY), st.text(max_size=20))
NUMBER = st.one_of(st.floats(), st.sampled_from([0.0, 1.0, -0.02, 38.5, 1e300, 5e-324]))
_PLAIN: dict[Any, st.SearchStrategy[Any]] = {
    str: TEXT,
    float: NUMBER,
    int: st.integers(-200, 2**50),
    bool: st.booleans(),
    NoneType: st.none(),
    Any: st.none() | TEXT | NUMBER | st.lists(TEXT, max_size=2),
}


def any_of(annotation: Any) -> st.SearchStrategy[Any]:
    """Values of a type that run records are made of."""
    origin, inside = get_origin(annotation), get_args(annotation)
    if annotation in _PLAIN:
        return _PLAIN[annotation]
    if origin is Annotated:
        return any_of(inside[0])
    if origin is Literal:
        return st.sampled_from(inside)
    if origin in (Union, UnionType):
        return st.one_of([any_of(each) for each in inside])
    if origin is dict:
        return st.dictionaries(any_of(inside[0]), any_of(inside[1]), max_size=3)
    if origin is tuple and inside[-1] is Ellipsis:
        return st.lists(any_of(inside[0]), max_size=4).map(tuple)
    if origin is tuple:
        return st.tuples(*(any_of(each) for each in inside))
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return any_model(annotation)
    raise TypeError(annotation)


def any_model(model: type[BaseModel]) -> st.SearchStrategy[Any]:
    """Instances of a part of the record."""
    hints = get_type_hints(model, include_extras=True)
    return st.deferred(lambda: st.fixed_dictionaries({name: any_of(hints[name]) for name in model.model_fields})).map(
        lambda given: model(**given)
    )


RECORDS = any_model(RunRecord)
COMPARISONS = any_model(Comparison)
EVALUATIONS = st.tuples(
    any_model(Evaluation), st.lists(any_model(EvaluatedModel), min_size=1, max_size=3), st.integers(0, 2)
).map(lambda made: made[0].model_copy(update={"models": tuple(made[1]), "reference": made[2] % len(made[1])}))


def plain_record(**changes: Any) -> RunRecord:
    """A record of a run without data, of a graph without nodes."""
    model = ModelInfo(path="m.onnx", sha256="0" * 64, opset=17, nodes=0, parameters=0, inputs={}, outputs={})
    plan = PlanInfo(
        target="x86-vnni", format="qdq", nodes=(), tensors=(), macs=0, integer_share=0.0, float_bytes=0, bytes=0
    )
    return RunRecord(
        **{
            "tool_version": "0",
            "status": "done",
            "target": "x86-vnni",
            "model": model,
            "recipe": {},
            "plan": plan,
            **changes,
        }
    )


def rich_record() -> RunRecord:
    """A record with something in every section."""
    names = [f"stage{n}/<conv>/output" for n in range(40)]
    nodes = tuple(
        NodeInfo(
            name=f"n{n}",
            op="Conv" if n % 3 else "Softmax",
            kind="integer" if n % 3 else "float",
            reason_code="" if n % 3 else "P001",
            reason="" if n % 3 else "no integer kernel for `Softmax`",
            macs=n,
            float_us=1.0 + n,
            us=1.0,
        )
        for n in range(40)
    )
    tensors = tuple(
        TensorInfo(name=name, format="uint8", group=n, scale=0.1, zero_point=3, low=-0.3, high=25.2)
        for n, name in enumerate(names)
    )
    plan = PlanInfo(
        target="x86-vnni",
        format="qdq",
        nodes=nodes,
        tensors=tensors,
        macs=780,
        integer_share=0.9,
        float_bytes=4000,
        bytes=1000,
        speedup=2.0,
    )
    layers = tuple(
        Layer(tensor=name, node=f"n{n}", op="Conv", sqnr_db=45.0 - n / 2 - 4 * (n == 7), before=tuple(names[n - 1 : n]))
        for n, name in enumerate(names)
    )
    counts = tuple(round(1000 * 2.7 ** (-(((n - 32) / 9) ** 2))) for n in range(64))
    histograms = tuple(
        Histogram(name=name, kind=kind, format="uint8", low=-1.0, high=2.0, counts=counts, range_low=-0.8, range_high=1.7, clipped=0.0012, sqnr_db=31.0, channels=channels, scale_low=0.01, scale_high=0.02)
        for kind, channels in (("activation", 1), ("weight", 16))
        for name in names[:7]
    )  # fmt: skip
    measured = Measurements(
        fidelity=Fidelity(sqnr_db=25.1, cosine=0.998, agreement=0.97, agreement_interval=Interval(low=0.95, high=0.98), samples=200, part="evaluation", outputs=()),
        metrics=(Metric(name="top1", float_value=0.91, value=0.902, drop=0.008, higher_is_better=True, samples=200, interval=Interval(low=-0.002, high=0.018)),),
        size=Size(float_bytes=4100, bytes=1100),
        latency=Latency(float_ms=2.0, ms=0.8, float_p95_ms=2.1, p95_ms=0.9, ratio=2.5, ratio_quartiles=(2.4, 2.6), rounds=15, threads=1, clock="cpu", host="a host", on_target=True),
        layers=layers,
        profile=Profile(float_ops=(OperatorTime(op="Conv", count=40, us=2000.0),), ops=(OperatorTime(op="QLinearConv", count=40, us=750.0), OperatorTime(op="QuantizeLinear", count=1, us=50.0)), runs=15),
        examples=Examples(rows=200, changed=6, changes=(ClassChange(float_class=3, result_class=5, count=4),), shown=(Example(id="cat/1.png", sqnr_db=12.0, changed=True, label="3", float_class=3, result_class=5, float_score=0.5, result_score=0.4, image=PIXEL),), confusion=Confusion(classes=(3, 5), float_counts=((90, 10), (8, 92)), counts=((86, 14), (8, 92)), pairs=(Confused(label=3, answer=5, float_count=10, count=14),)), names={3: "cat", 5: "<dog>"}),
    )  # fmt: skip
    calibration = CalibrationInfo(
        samples=64,
        tensors=40,
        method="mse",
        convergence=tuple(Convergence(samples=2**n, share=0.6 + n / 15) for n in range(7)),
    )
    return plain_record(
        plan=plan,
        measurements=measured,
        histograms=histograms,
        calibration=calibration,
        sizes=tuple(
            TensorSize(name=name, format="int8", float_bytes=400 - n, bytes=100) for n, name in enumerate(names)
        ),
        gates=(
            GateResult(
                name="metric_drop",
                limit=0.01,
                value=0.008,
                passed=True,
                text="drop of the task metric: 0.008, wanted at most 0.01",
            ),
        ),
        diagnostics=(
            Problem(code="V100", severity="warning", message="the result is slower", hint="use `keep: float`"),
        ),
        algorithms=(AlgorithmStep(name="reconstruct", kept=True, before_db=24.0, after_db=25.0, seconds=2.5),),
        readback=Readback(nodes=(), kernels={"QLinearConv": 40}, integer_macs=0.9, conversions=2, islands=()),
        stages=(StageTime(name="calibrate", seconds=2.0, cpu_seconds=2.0),),
    )
