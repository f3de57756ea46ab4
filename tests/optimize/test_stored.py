"""What runs share: drafts by content, and the promise of the algorithms whose results are taken over."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from quantize_support import bench, random, text_model

from qconvert.graph import serialize
from qconvert.optimize import ALGORITHMS, Draft, Lab
from qconvert.optimize.adaround import AdaRound
from qconvert.optimize.equalize import Equalization
from qconvert.optimize.stored import UnfitError, digest, read, written
from qconvert.plan import Kind, Plan, Reason
from qconvert.recipe.types import Recipe

NET = """(float[1,8,8,8] x) => (float[1,8,8,8] y) {
    a = Conv<pads=[1,1,1,1]>(x, wa, ba)
    r = Relu(a)
    b = Conv<pads=[1,1,1,1], group=8>(r, wb, bb)
    s = Relu(b)
    c = Conv(s, wc, bc)
    y = Add(c, x)
}"""
PORTABLE = sorted(name for name, row in ALGORITHMS.items() if row.portable)


@pytest.fixture(scope="module")
def start() -> tuple[Draft, Lab]:
    """A draft on which every portable algorithm has something to do."""
    wa, wb = random(8, 8, 3, 3, seed=1) / 6, random(8, 1, 3, 3, seed=2) / 2
    wa[3] *= 100
    wb[3] /= 100
    bb = np.eye(1, 8, dtype=np.float32)[0] * 3000  # a channel that never falls below a constant
    constants = {"wb": wb, "bb": bb, "wc": random(8, 8, 1, 1, seed=5) / 3, "bc": random(8, seed=6)}
    graph = text_model(NET, wa=wa, ba=random(8, seed=3), **constants)
    rng = np.random.default_rng(0)
    feeds = [{"x": rng.standard_normal((1, 8, 8, 8)).astype(np.float32) ** 3} for _ in range(24)]
    return bench(graph, feeds, Recipe(placement="everywhere", mode="static"))


def settings_of(name: str) -> Any:
    special = {"adaround": AdaRound(steps=20), "equalize": Equalization(residual=0.0)}
    return special.get(name) or ALGORITHMS[name].settings()


def elsewhere(plan: Plan) -> Plan:
    """The plan as another target with the same numbers would have it."""
    nodes = {
        name: replace(p, reason=p.reason and Reason("P003", "other"), float_ns=n + 3.0, integer_ns=7.0 / (n + 1))
        for n, (name, p) in enumerate(plan.nodes.items())
    }
    return replace(plan, target="other", nodes=nodes, prediction=replace(plan.prediction, float_ns=1.0, ns=2.0))


def refused(*_: object) -> Any:
    raise AssertionError("a portable algorithm looks at the target")


@pytest.mark.parametrize("name", PORTABLE)
def test_portable_algorithms_look_at_numbers_only(start: tuple[Draft, Lab], name: str) -> None:
    """Other prices, names and reasons, and no target to ask: the same result; read back from bytes, too."""
    draft, lab = start
    run = ALGORITHMS[name].run
    here = run(draft, lab, settings_of(name))
    assert here is not draft or name in ("ranges", "refine")
    other = draft.with_(plan=elsewhere(draft.plan))
    there = run(other, replace(lab, target=None, replan=refused), settings_of(name))
    assert digest(there) == digest(here)
    back = read(written(here, draft), other)
    assert digest(back) == digest(here)
    assert (back.plan.target, back.plan.prediction) == ("other", other.plan.prediction)
    assert serialize(lab.emit(back)) == serialize(lab.emit(there))


def test_a_hash_sees_every_number(start: tuple[Draft, Lab]) -> None:
    draft, _ = start
    assert digest(draft.with_(plan=elsewhere(draft.plan))) == digest(draft)
    key, tensor, sketch = next(iter(draft.weights)), next(iter(draft.activations)), next(iter(draft.sketches))
    params, node = draft.activations[tensor], next(n for n, p in draft.plan.nodes.items() if p.kind is Kind.INTEGER)
    plan, counts = draft.plan, draft.sketches[sketch].counts.copy()
    counts[7] += 1
    graph = draft.graph.with_(weights={**draft.graph.weights, "wa": draft.graph.weights["wb"]})
    others = [
        draft.with_(graph=graph),
        draft.with_(reference=graph),
        draft.with_(activations={**draft.activations, tensor: replace(params, scale=np.nextafter(params.scale, 1))}),
        draft.with_(activations={**draft.activations, tensor: replace(params, zero_point=params.zero_point + 1)}),
        draft.with_(weights={**draft.weights, key: replace(draft.weights[key], axis=None)}),
        draft.with_(sketches={**draft.sketches, sketch: replace(draft.sketches[sketch], counts=counts)}),
        draft.with_(plan=replace(plan, nodes={**plan.nodes, node: replace(plan.nodes[node], kind=Kind.FLOAT)})),
        draft.with_(plan=replace(plan, tensors={**plan.tensors, tensor: replace(plan.tensors[tensor], group=99)})),
        draft.with_(plan=replace(plan, bias="float")),
    ]
    assert len({digest(other) for other in (draft, *others)}) == len(others) + 1


def test_other_changes_are_not_written(start: tuple[Draft, Lab]) -> None:
    draft, _ = start
    for other in (
        draft.with_(plan=replace(draft.plan, opset=draft.plan.opset + 1)),
        draft.with_(graph=draft.graph.with_(opsets={"": 99})),
    ):
        with pytest.raises(UnfitError):
            written(other, draft)
