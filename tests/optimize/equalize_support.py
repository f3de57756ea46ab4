"""Drafts and laboratories of small models."""

from collections.abc import Sequence

import numpy as np
from quantize_support import EVERYWHERE, X86, planned, quantized

from qconvert.calibrate import Sketcher, collect
from qconvert.data import Sample
from qconvert.emit import emit_qdq
from qconvert.graph import Array, Graph
from qconvert.optimize import Draft, Lab
from qconvert.plan import Plan
from qconvert.recipe.types import Recipe
from qconvert.runtime import Feed, Options

DYNAMIC = Recipe(placement="everywhere", mode="dynamic")


def skewed(*shape: int, axis: int, powers: int = 6, seed: int = 0) -> Array:
    """Random weights whose channels along an axis differ by powers of two."""
    rng = np.random.default_rng(seed)
    size = [-1 if a == axis else 1 for a in range(len(shape))]
    factor = np.exp2(rng.integers(-powers, powers + 1, shape[axis])).reshape(size)
    return (rng.standard_normal(shape) * factor).astype(np.float32)


def plan_of(graph: Graph, recipe: Recipe = EVERYWHERE, **nodes: dict[str, str]) -> Plan:
    return planned(graph, X86, recipe, nodes=nodes)


def laboratory(
    graph: Graph, feeds: Sequence[Feed], recipe: Recipe = EVERYWHERE, **nodes: dict[str, str]
) -> tuple[Draft, Lab]:
    """A first draft and the laboratory in which it is judged."""
    made = quantized(graph, feeds, X86, recipe, nodes=nodes)
    sketchers = {name: Sketcher() for name in made.plan.taps}
    collect(graph, [Sample(str(n), f) for n, f in enumerate(feeds)], {name: (s,) for name, s in sketchers.items()})
    sketches = {name: s.result() for name, s in sketchers.items()}
    draft = Draft(graph, graph, made.plan, sketches, made.activations, made.weights)
    lab = Lab(
        graph=graph,
        fit=feeds,
        held_out=feeds,
        calibration=recipe.calibration,
        target=X86,
        replan=lambda exceptions, graph: made.plan,
        emit=lambda d: emit_qdq(d.graph, d.plan, d.activations, d.weights),
        options=Options(),
    )
    return draft, lab
