"""Run records for tests: a plain one, and any that the types allow."""

from __future__ import annotations

from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from hypothesis import strategies as st
from pydantic import BaseModel

from qconvert.report import RunRecord
from qconvert.report.record import ModelInfo, PlanInfo

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
    return st.deferred(lambda: st.fixed_dictionaries({name: any_of(hints[name]) for name in model.model_fields})).map(lambda given: model(**given))


RECORDS = any_model(RunRecord)


def plain_record(**changes: Any) -> RunRecord:
    """A record of a run without data, of a graph without nodes."""
    model = ModelInfo(path="m.onnx", sha256="0" * 64, opset=17, nodes=0, parameters=0, inputs={}, outputs={})
    plan = PlanInfo(target="x86-vnni", format="qdq", nodes=(), tensors=(), macs=0, integer_share=0.0, float_bytes=0, bytes=0)
    return RunRecord(**{"tool_version": "0", "status": "done", "target": "x86-vnni", "model": model, "recipe": {}, "plan": plan, **changes})
