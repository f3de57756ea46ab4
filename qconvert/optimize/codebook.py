"""Codebooks that know the inputs: levels are fitted where errors matter, and rounding errors are handed on (as in GPTQ).

The energy of input i, the diagonal of the Gram matrix, says how much an error of its weights costs at the output, so it weighs
the k-means of the levels. Rounding column by column then lets the columns behind make up for the error of those before,
with levels in the place of evenly spaced codes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ..calibrate import QuantParams, block_rows, table_params
from ..calibrate.levels import nearest
from ..graph import Array
from ..plan import WeightPlan
from .gptq import inverse_factor

_BLOCK = 128


def on_levels(parts: Sequence[tuple[Array, Array, float]], plan: WeightPlan) -> tuple[Array, QuantParams]:
    """Weights [G, O, K] rounded to levels, with the levels and their scales, channels in the order of the weights.

    Args:
        parts: blocks of inputs: weights [G, O, k], second moments of the inputs [G, k, k], damping.
        plan: with `levels`.
    """
    weights = np.concatenate([target for target, _, _ in parts], axis=2)
    energy = np.concatenate([np.einsum("gkk->gk", gram) for _, gram, _ in parts], axis=1)
    energy = np.maximum(energy, 1e-12 * max(float(energy.max()), 1e-30))
    flat, mass = (
        np.broadcast_to(a, weights.shape).reshape(-1, weights.shape[2]) for a in (weights, energy[:, None, :])
    )
    rows, importance = (block_rows(a, 0, plan.block) for a in (flat, mass))
    params = table_params(flat, rows, replace(plan, axis=0), importance)
    table, steps = np.asarray(params.table, dtype=np.float64), _steps(params, weights.shape)
    done, start = [], 0
    for target, gram, damping in parts:
        inside = steps[..., start : start + target.shape[2]]
        done.append(
            np.stack([with_feedback(w, g, table, s, damping) for w, g, s in zip(target, gram, inside, strict=True)])
        )
        start += target.shape[2]
    return np.concatenate(done, axis=2), params


def _steps(params: QuantParams, shape: tuple[int, ...]) -> Array:
    """The scale of each weight [G, O/G, K]."""
    scale = params.scale.astype(np.float64).reshape(shape[0] * shape[1], -1)
    each = np.repeat(scale, params.block, axis=1)[:, : shape[2]] if params.block else scale
    return np.broadcast_to(each, (shape[0] * shape[1], shape[2])).reshape(shape)


def with_feedback(weights: Array, gram: Array, table: Array, steps: Array, damping: float) -> Array:
    """Weights [O, K] on the levels `table * steps`, with the least error of the output that column-wise rounding finds.

    Args:
        gram: [K, K], mean of x xᵀ.
        table: ascending.
        steps: [O, K] scales.
    """
    order = np.argsort(-np.diag(gram), kind="stable")
    factor = inverse_factor(gram[np.ix_(order, order)], np.diag(gram)[order] <= 0, damping)
    if factor is None:
        return np.asarray(table[nearest(weights / steps, table)] * steps)
    left, scale, zero = weights[:, order].astype(np.float64), steps[:, order], weights[:, order] == 0
    size = left.shape[1]
    for start in range(0, size, _BLOCK):
        end = min(start + _BLOCK, size)
        errors = np.empty((len(left), end - start))
        for i in range(start, end):
            level = table[nearest(np.where(zero[:, i], 0.0, left[:, i]) / scale[:, i], table)] * scale[:, i]
            errors[:, i - start] = (left[:, i] - level) / factor[i, i]
            left[:, i] = level
            left[:, i + 1 : end] -= np.outer(errors[:, i - start], factor[i, i + 1 : end])
        left[:, end:] -= errors @ factor[start:end, end:]
    result = np.empty_like(left)
    result[:, order] = left
    return result
