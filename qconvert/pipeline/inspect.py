"""Looks at a model without data: what is in it, and what each target would make of it."""

from __future__ import annotations

from collections import Counter
from math import prod
from pathlib import Path

from ..errors import QConvertError
from ..graph import Graph, TensorType
from ..recipe import Recipe
from ..report.inspect import Inspection, LargeTensor, TargetView
from ..targets import TARGETS
from .events import Stages
from .planning import Planned, plan_of
from .recording.record import model_info

_LARGEST = 5


def inspect_model(path: Path) -> Inspection:
    """Facts about a model, and the plan of every target in short.

    Raises:
        QConvertError: M0xx where the model cannot be read.
    """
    from ..graph import load

    original = load(path)
    plans: dict[str, Planned | QConvertError] = {}
    for name in TARGETS:
        try:
            plans[name] = plan_of(path, Recipe(target=name), Stages())
        except QConvertError as error:
            plans[name] = error
    first = next((p for p in plans.values() if isinstance(p, Planned)), None)
    return Inspection(
        model=model_info(path, original),
        operators=dict(Counter(f"{n.domain}.{n.op}".lstrip(".") for n in original.nodes).most_common()),
        macs=first.plan.prediction.macs if first else 0,
        weights=_largest(dict(original.constants)),
        activations=_largest(
            {n: TensorType("float32", s) for n, s in first.plan.shapes.items() if _is_float(first.graph, n)}
            if first
            else {}
        ),
        targets=tuple(_view(name, found) for name, found in plans.items()),
    )


def _is_float(graph: Graph, name: str) -> bool:
    return graph.type_of(name).dtype == "float32"


def _largest(types: dict[str, TensorType]) -> tuple[LargeTensor, ...]:
    width = {"float64": 8, "int64": 8, "float16": 2, "bfloat16": 2, "int8": 1, "uint8": 1, "bool": 1}
    sizes = {
        name: width.get(t.dtype or "", 4) * prod(d for d in t.shape or () if isinstance(d, int))
        for name, t in types.items()
    }
    order = sorted(sizes, key=lambda name: (-sizes[name], name))[:_LARGEST]
    return tuple(LargeTensor(name=name, type=str(types[name]), bytes=sizes[name]) for name in order)


def _view(name: str, found: Planned | QConvertError) -> TargetView:
    if isinstance(found, QConvertError):
        first = found.diagnostics[0]
        return TargetView(
            target=name,
            integer_share=None,
            speedup=None,
            bytes=None,
            reasons=(),
            blocked=f"{first.message} [{first.code}]",
        )
    reasons = Counter(
        f"{p.reason.text} [{p.reason.code}]"
        for p in found.plan.nodes.values()
        if p.reason and p.reason.code not in ("P003", "P005")
    )
    loses = sum(1 for p in found.plan.nodes.values() if p.reason and p.reason.code == "P003")
    lines = [f"{count}x {text}" for text, count in reasons.most_common(4)] + (
        [f"{loses}x no profit [P003]"] if loses else []
    )
    prediction = found.plan.prediction
    return TargetView(
        target=name,
        integer_share=prediction.integer_share,
        speedup=prediction.speedup,
        bytes=prediction.bytes,
        reasons=tuple(lines),
    )
