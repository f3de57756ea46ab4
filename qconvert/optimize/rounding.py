"""Codes and scales of one layer's weights for the least error of its output, under the second moments G of its inputs.

The error of an output channel with weights w, codes z and scale s is (w - s z) G (w - s z)ᵀ. Scales are searched by it, GPTQ finds
codes, coordinate descent takes every single step that still lowers it, and the best scale for given codes has a closed form:
s = z G wᵀ / z G zᵀ. Each of the last two can only gain, so they alternate until neither does.

Weights are [G, O, K]: groups of output channels, each group with inputs and a matrix [K, K] of its own.
"""

from __future__ import annotations

import numpy as np

from ..graph import Array
from .gptq import Limits, gptq, nearest

_FACTORS = np.array([1.0, 0.98, 0.96, 0.94, 0.92, 0.9, 0.87, 0.84, 0.8, 0.75, 0.7, 0.65, 0.6, 0.55, 0.5, 0.45, 0.4])
_ROUNDS, _SWEEPS = 3, 4


def rounded(
    weights: Array,
    gram: Array,
    scale: Array,
    limits: Limits,
    damping: float = 0.01,
    shared: bool = False,
    thorough: bool = True,
) -> tuple[Array, Array]:
    """Codes and scales with the least error of the output that is found.

    Args:
        weights: [G, O, K]; those that are zero stay so.
        gram: [G, K, K], mean of x xᵀ.
        scale: [G, O], the largest that are sensible: those of the whole range.
        damping: share of the mean diagonal that is added to it, as inputs seen later will differ.
        shared: one scale for all channels.
        thorough: search scales and descend; else GPTQ at the given scales and one refit, which is nearly as good at 8 bits.

    Returns:
        Codes [G, O, K] and scales [G, O].
    """
    damped = with_damping(gram, damping)
    if thorough:
        scale = best_scales(weights, damped, scale, limits, shared)
    codes = gptq(weights, gram, scale, limits, damping)
    for _ in range(_ROUNDS if thorough else 0):
        codes = descended(weights, codes, damped, scale, limits)
        better = refitted(weights, codes, damped, scale, shared)
        if np.allclose(better, scale, rtol=1e-4, atol=0):
            break
        scale = better
    return codes, refitted(weights, codes, damped, scale, shared)


def with_damping(gram: Array, damping: float) -> Array:
    """Gram matrices [G, K, K] with a share of the mean diagonal added to the diagonal; the unit matrix for one of zeros."""
    diagonal = np.einsum("gkk->gk", gram)
    alive = diagonal > 0
    mean = diagonal.sum(axis=1) / np.maximum(alive.sum(axis=1), 1)
    mean = np.where(mean > 0, mean, 1.0)[:, None]
    return np.asarray(gram + np.eye(gram.shape[1]) * np.where(alive, damping * mean, mean)[:, None])


def output_error(weights: Array, codes: Array, gram: Array, scale: Array) -> Array:
    """Mean squared error [G, O] of the outputs."""
    change = weights - codes * scale[..., None]
    return np.asarray(np.einsum("gok,gok->go", change @ gram, change))


def best_scales(weights: Array, gram: Array, scale: Array, limits: Limits, shared: bool = False) -> Array:
    """The scales [G, O] at which rounding to nearest has the least error of the output."""
    best, found = np.full(scale.shape, np.inf), scale
    for factor in _FACTORS:
        tried = scale * factor
        error = output_error(weights, nearest(weights, tried[..., None], limits), gram, tried)
        error = np.full(error.shape, error.sum()) if shared else error
        best, found = np.minimum(error, best), np.where(error < best, tried, found)
    return found


def descended(weights: Array, codes: Array, gram: Array, scale: Array, limits: Limits) -> Array:
    """Codes [G, O, K] after coordinate descent: input by input, each code moves to where the error is least."""
    zero, codes = weights == 0, codes.copy()
    low, high = (np.broadcast_to(end, weights.shape) for end in limits)
    slope = (weights / scale[..., None] - codes) @ gram  # minus half of the error's derivative, in steps
    for _ in range(_SWEEPS):
        moved = False
        for k in range(gram.shape[1]):
            wanted = np.clip(codes[..., k] + np.rint(slope[..., k] / gram[:, k, k, None]), low[..., k], high[..., k])
            change = np.where(zero[..., k], 0.0, wanted - codes[..., k])
            group, output = np.nonzero(change)
            if group.size:
                codes[..., k] += change
                slope[group, output] -= change[group, output, None] * gram[group, k]
                moved = True
        if not moved:
            break
    return codes


def refitted(weights: Array, codes: Array, gram: Array, scale: Array, shared: bool = False) -> Array:
    """The scales [G, O] with the least error for given codes; as before where the codes are all zero."""
    product = codes @ gram
    along, power = np.einsum("gok,gok->go", product, weights), np.einsum("gok,gok->go", product, codes)
    if shared:
        along, power = np.full(along.shape, along.sum()), np.full(power.shape, power.sum())
    good = (power > 0) & (along > 0)
    return np.where(good, along / np.where(good, power, 1.0), scale)
