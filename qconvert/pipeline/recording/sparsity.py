"""What pruning achieved: zeros that survived rounding, their pattern, and what the target's runtime makes of them."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np

from ...calibrate import fake_quantize
from ...errors import Diagnostic, Severity
from ...graph import Array
from ...optimize import AlgorithmStep, Draft
from ...report.record import Sparsity
from ...targets import Target


def sparsity_of(draft: Draft, steps: Sequence[AlgorithmStep], target: Target) -> Sparsity | None:
    """Sparsity of the layers that the recipe prunes, as their weights will be stored; None where nothing was pruned."""
    kept = [step for step in steps if step.kept]
    if not kept:
        return None
    from ...optimize import ALGORITHMS
    from ...optimize.prune import Pruning, in_fours, prunable

    chosen = [
        Pruning.model_validate_json(json.dumps(step.settings))
        for step in kept
        if ALGORITHMS[step.name].settings is Pruning
    ]
    if not chosen:
        return None
    zeros = weights = fours = 0
    layers = {node.name: node for settings in chosen for node in prunable(draft.graph, settings)}
    for node in layers.values():
        array = _stored(draft, node.name, node.input(1))
        zeros, weights = zeros + int((array == 0).sum()), weights + array.size
        quads = in_fours(node, array)
        fours += array.size if quads is not None and bool(np.all((quads == 0).sum(axis=-1) >= 2)) else 0
    pattern = "2:4" if 2 * fours > weights else "unstructured"
    return Sparsity(
        layers=len(layers),
        zeros=zeros / max(weights, 1),
        two_of_four=fours / max(weights, 1),
        gain=dict(target.sparsity)[pattern],
    )


def note(found: Sparsity) -> Diagnostic:
    """The achieved sparsity in a line."""
    pattern = f", {found.two_of_four:.0%} in layers with two zeros in every four inputs" if found.two_of_four else ""
    text = f"{found.zeros:.1%} of the weights of {found.layers} layers are zero{pattern}; gain: {found.gain}"
    return Diagnostic("P103", text, None, None, Severity.NOTE)


def _stored(draft: Draft, node: str, name: str) -> Array:
    array, params = draft.graph.weights[name].numpy(), draft.weights.get((node, 1))
    return array if params is None else fake_quantize(array, params)
