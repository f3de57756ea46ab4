"""Choices that cost memory: one scale a neuron in matrix products where the device has room for it.

A scale for each output channel costs the kernel a multiplier and a shift, 8 bytes of arena, and the file a scale and a zero
point for weights and bias. What it gains is judged by how much closer the rounded weights come, so no data is needed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from ...calibrate import constant_params, fake_quantize, params_fixed, params_for_range
from ...emit import emit_tflite
from ...emit.tflite.memory import arena_estimate
from ...errors import Diagnostic, Severity
from ...evaluate.fidelity import sqnr_db
from ...graph import Array, Graph
from ...ops import weight_axis
from ...plan import Plan, WeightPlan
from ...recipe import Recipe
from ...recipe.types import Change
from ...targets import Target

ARENA_BYTES, FLASH_BYTES = 8, 24  # of one output channel
_WORTH_DB = 1.0
_EXACT_DB = 99.0  # weights that lie on the grid already
_FREE_SHARE = 0.01  # of the arena, that may be spent without being asked
_NOISE = 1.25  # other kernels take more than this estimate


@dataclass(frozen=True, slots=True)
class Offer:
    """One layer that could have a scale a channel: what it gains and costs."""

    node: str
    gain_db: float
    channels: int


def offers(graph: Graph, target: Target, chosen: Plan) -> list[Offer]:
    """Layers with one scale for which more scales would pay, the best bargain first."""
    found = []
    for (name, index), plan in chosen.weights.items():
        node = graph.by_name[name]
        reading = chosen.tensors.get(node.input(0))
        plain = plan.format.bits == 8 and (reading is None or reading.format.bits == 8)  # CMSIS-NN has no others
        if index != 1 or plan.axis is not None or node.op not in target.formats.per_tensor or not plain:
            continue
        array = graph.weights[node.input(1)].numpy()
        axis = weight_axis(node, array.ndim)
        gain = _fit(array, plan, axis) - _fit(array, plan, None)
        if axis is not None and gain >= _WORTH_DB:
            found.append(Offer(name, float(gain), array.shape[axis]))
    return sorted(found, key=lambda offer: (-offer.gain_db / offer.channels, offer.node))


def _fit(array: Array, plan: WeightPlan, axis: int | None) -> float:
    rounded = fake_quantize(array, constant_params(array, WeightPlan(plan.format, axis)))
    return min(sqnr_db(float(np.square(array).sum()), float(np.square(array - rounded).sum())), _EXACT_DB)


def affordable(
    graph: Graph, target: Target, chosen: Plan, recipe: Recipe
) -> tuple[dict[str, Change], tuple[Diagnostic, ...]]:
    """Rules for the layers that get a scale a channel within the recipe's limits, and a note about each choice."""
    found = offers(graph, target, chosen)
    limits = recipe.limits
    if not found:
        return {}, ()
    arena, flash = estimated(graph, chosen)
    free = limits.arena is None and limits.flash is None
    bounds = (int(arena * (1 + _FREE_SHARE)), None) if free else (limits.arena, limits.flash)
    picked: dict[str, Change] = {}
    for offer in found:
        more = (arena + ARENA_BYTES * offer.channels, flash + FLASH_BYTES * offer.channels)
        if all(limit is None or size <= limit for size, limit in zip(more, bounds, strict=True)):
            arena, flash = more
            picked[offer.node] = Change(granularity="per-channel")
    channels = sum(o.channels for o in found if o.node not in picked)
    sizes = {"arena": arena + ARENA_BYTES * channels, "flash": flash + FLASH_BYTES * channels}
    binding = [name for name, limit in zip(sizes, bounds, strict=True) if limit is not None and sizes[name] > limit]
    return picked, tuple(_notes(found, picked, free, binding))


def _notes(found: list[Offer], picked: Mapping[str, Change], free: bool, binding: list[str]) -> Iterator[Diagnostic]:
    taken, left = [o for o in found if o.node in picked], [o for o in found if o.node not in picked]
    within = f"at most {_FREE_SHARE:.0%} of the arena" if free else "the limits"
    if taken:
        text = f"one scale a neuron in {_list(taken)}: weights {_gain(taken):.1f} dB closer for {_cost(taken)}, within {within}"
        yield Diagnostic("M101", text, None, None, Severity.NOTE)
    if left:
        hint = (
            "set `limits: {arena: ...}`, or `granularity: per-channel` by a rule"
            if free
            else f"raise {' and '.join(f'`limits.{name}`' for name in binding)}"
        )
        text = f"one scale for all neurons in {_list(left)}: one each would bring weights {_gain(left):.1f} dB closer for {_cost(left)}"
        yield Diagnostic("M101", text, None, hint, Severity.NOTE)


def _list(offers: list[Offer]) -> str:
    return ", ".join(f"`{o.node}`" for o in offers[:3]) + (f" and {len(offers) - 3} more" if len(offers) > 3 else "")


def _gain(offers: list[Offer]) -> float:
    return sum(o.gain_db for o in offers) / len(offers)


def _cost(offers: list[Offer]) -> str:
    channels = sum(o.channels for o in offers)
    return f"{ARENA_BYTES * channels} bytes of arena and {FLASH_BYTES * channels} of flash"


def estimated(graph: Graph, chosen: Plan) -> tuple[int, int]:
    """Bytes of arena (with room for other kernels' scratch) and of the file, before any data is seen."""
    activations = {
        name: params_fixed(t.format, *t.fixed) if t.fixed else params_for_range(t.format, -1.0, 1.0)
        for name, t in chosen.tensors.items()
    }
    weights = {
        key: constant_params(graph.weights[graph.by_name[key[0]].input(key[1])].numpy(), plan, "min-max")
        for key, plan in chosen.weights.items()
    }
    draft = emit_tflite(graph, chosen, activations, weights)
    return int(arena_estimate(draft.file) * _NOISE), len(draft.data)


def merged(rules: Mapping[str, Change], extra: Mapping[str, Change]) -> dict[str, Change]:
    """Rules with choices for the nodes that they leave open."""
    found = dict(rules)
    for name, change in extra.items():
        before = found.get(name, Change())
        found[name] = before if before.granularity else before.model_copy(update={"granularity": change.granularity})
    return found
