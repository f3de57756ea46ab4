"""Codes and scales of one layer's weights for the least error of its output, under the second moments G of its inputs.

The error of an output channel with weights w, codes z and the scale s of each is (w - s z) G (w - s z)ᵀ. Scales are searched by it,
GPTQ finds codes, coordinate descent takes every single step that still lowers it, and the best scale of a block for given codes has a
closed form: s_b += r G z_bᵀ / z_b G z_bᵀ, where r is the rest w - s z. Each of the last two can only gain, so they alternate. Where
channels have several blocks, the search comes behind GPTQ, block by block against what the others leave over, and can only gain too.

Weights are [G, O, K]: groups of output channels, each group with inputs and a matrix [K, K] of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from ..graph import Array
from .gptq import gptq, nearest

_FACTORS = np.array([1.0, 0.98, 0.96, 0.94, 0.92, 0.9, 0.87, 0.84, 0.8, 0.75, 0.7, 0.65, 0.6, 0.55, 0.5, 0.45, 0.4])
_NEARBY, _SHIFTS = (1.0, 0.9, 0.95, 1.05, 1.1), (-1, 1)  # factors on a block's scale, and changes of its zero point
_ROUNDS, _SWEEPS = 3, 4
_COLUMNS = 128  # inputs whose moves are handed on to the others at once
_TOGETHER = 1 << 24  # weights at a time, which bounds memory


@dataclass(frozen=True, eq=False)
class Lattice:
    """What the weights [G, O, K] can become: codes times scales, for each of B blocks of inputs.

    Attributes:
        scale: [G, O, B].
        low: smallest code, counted from the zero point, [G, O, B].
        span: largest code less the smallest.
        block: inputs that share a scale; the last block may have fewer.
        shared: one scale for all channels; B is 1.
        slides: zero points may be chosen, so that `low` is any of -span..0.
    """

    scale: Array
    low: Array
    span: int
    block: int
    shared: bool = False
    slides: bool = False

    @property
    def high(self) -> Array:
        """Largest code, counted from the zero point, [G, O, B]."""
        return self.low + self.span

    def outputs(self, part: slice) -> Lattice:
        """The lattice of some outputs."""
        return replace(self, scale=self.scale[:, part], low=self.low[:, part])

    def part(self, inputs: slice) -> Lattice:
        """The lattice of some inputs, which are whole blocks unless a channel is one."""
        if self.scale.shape[2] == 1:
            return self
        blocks = slice(inputs.start // self.block, -(-inputs.stop // self.block))
        return replace(self, scale=self.scale[..., blocks], low=self.low[..., blocks])

    def each(self, values: Array, inputs: int) -> Array:
        """What holds for each block [G, O, B], for each weight [G, O, K]."""
        if values.shape[2] == 1:
            return np.broadcast_to(values, (*values.shape[:2], inputs))
        return np.repeat(values, self.block, axis=2)[..., :inputs]

    def steps(self, inputs: int) -> Array:
        """The scale of each weight [G, O, K]."""
        return self.each(self.scale, inputs)

    def limits(self, inputs: int) -> tuple[Array, Array]:
        """Smallest and largest code of each weight [G, O, K], counted from the zero point."""
        return self.each(self.low, inputs), self.each(self.high, inputs)

    def blocks(self, inputs: int) -> Iterator[tuple[int, slice]]:
        """Blocks with their inputs."""
        return ((b, slice(b * self.block, min((b + 1) * self.block, inputs))) for b in range(self.scale.shape[2]))


def rounded(
    weights: Array, gram: Array, lattice: Lattice, damping: float = 0.01, thorough: bool = True, fixed: bool = False
) -> tuple[Array, Lattice]:
    """Codes and scales with the least error of the output that is found.

    Args:
        weights: [G, O, K]; those that are zero stay so.
        gram: [G, K, K], mean of x xᵀ.
        lattice: to start from. One scale a channel is the largest that is sensible, that of the whole range; scales of
            blocks are fitted to the weights already, as GPTQ makes rounding to nearest a poor guide among many of them.
        damping: share of the mean diagonal that is added to it, as inputs seen later will differ.
        thorough: search scales and descend; else GPTQ on the given lattice and one refit, which is nearly as good at 8 bits.
        fixed: the lattice stays as it is.

    Returns:
        Codes [G, O, K], counted from the zero point, and the lattice; the error is never above that of GPTQ on the lattice of the search.
    """
    together = max(weights.shape[2], _TOGETHER // weights.shape[2])
    if lattice.shared or weights.shape[1] <= together:
        return _rounded(weights, gram, lattice, damping, thorough, fixed)
    parts = [slice(start, start + together) for start in range(0, weights.shape[1], together)]
    done = [_rounded(weights[:, part], gram, lattice.outputs(part), damping, thorough, fixed) for part in parts]
    scale, low = (np.concatenate(found, axis=1) for found in zip(*((g.scale, g.low) for _, g in done), strict=True))
    return np.concatenate([codes for codes, _ in done], axis=1), replace(lattice, scale=scale, low=low)


def _rounded(
    weights: Array, gram: Array, lattice: Lattice, damping: float, thorough: bool, fixed: bool
) -> tuple[Array, Lattice]:
    damped, inputs, single = with_damping(gram, damping), weights.shape[2], lattice.scale.shape[2] == 1
    if thorough and single and not fixed:
        lattice = best_scales(weights, damped, lattice)
    codes = gptq(weights, gram, lattice.steps(inputs), lattice.limits(inputs), damping)
    if thorough:
        codes = descended(weights, codes, damped, lattice)
    if fixed:
        return codes, lattice
    if thorough and not single:
        codes, lattice = exchanged(weights, codes, damped, lattice)
    for _ in range(_ROUNDS - 1 if thorough else 0):
        better = refitted(weights, codes, damped, lattice)
        if np.allclose(better.scale, lattice.scale, rtol=1e-4, atol=0):
            break
        lattice = better
        codes = descended(weights, codes, damped, lattice)
    return codes, refitted(weights, codes, damped, lattice)


def with_damping(gram: Array, damping: float) -> Array:
    """Gram matrices [G, K, K] with a share of the mean diagonal added to the diagonal; the unit matrix for one of zeros."""
    diagonal = np.einsum("gkk->gk", gram)
    alive = diagonal > 0
    mean = diagonal.sum(axis=1) / np.maximum(alive.sum(axis=1), 1)
    mean = np.where(mean > 0, mean, 1.0)[:, None]
    return np.asarray(gram + np.eye(gram.shape[1]) * np.where(alive, damping * mean, mean)[:, None])


def output_error(weights: Array, codes: Array, gram: Array, lattice: Lattice) -> Array:
    """Mean squared error [G, O] of the outputs."""
    change = weights - codes * lattice.steps(weights.shape[2])
    return np.asarray(np.einsum("gok,gok->go", change @ gram, change))


def best_scales(weights: Array, gram: Array, lattice: Lattice) -> Lattice:
    """The scales of a lattice of one block a channel at which rounding to nearest has the least error of the output."""
    best, found = np.full(lattice.scale.shape[:2], np.inf), lattice.scale
    for factor in _FACTORS:
        tried = replace(lattice, scale=lattice.scale * factor)
        error = output_error(weights, nearest(weights, tried.scale, (lattice.low, lattice.high)), gram, tried)
        error = np.full(error.shape, error.sum()) if lattice.shared else error
        best, found = np.minimum(error, best), np.where((error < best)[..., None], tried.scale, found)
    return replace(lattice, scale=found)


def exchanged(weights: Array, codes: Array, gram: Array, lattice: Lattice) -> tuple[Array, Lattice]:
    """Codes and lattice after every block was offered other scales and zero points, with codes that descend from where they are.

    What the other blocks leave over is part of what a block aims at: its own rest of least error, r G_b (G_bb)⁻¹.
    """
    inputs, zero, codes = weights.shape[2], weights == 0, codes.copy()
    scale, low = lattice.scale.copy(), np.array(lattice.low)
    slope = (weights - codes * lattice.steps(inputs)) @ gram
    for b, part in lattice.blocks(inputs):
        near, old = gram[:, part, part], codes[..., part] * scale[..., b, None]
        aim = old + np.linalg.solve(near, slope[..., part].transpose(0, 2, 1)).transpose(0, 2, 1)
        start = Lattice(scale[..., b, None], low[..., b, None], lattice.span, lattice.block, slides=lattice.slides)
        new, better = _offered(aim, old, zero[..., part], near, start)
        codes[..., part], scale[..., b], low[..., b] = new, better.scale[..., 0], better.low[..., 0]
        if part.stop < inputs:
            slope -= (new * better.scale - old) @ gram[:, part]
    return codes, replace(lattice, scale=scale, low=low)


def _offered(aim: Array, old: Array, zero: Array, gram: Array, lattice: Lattice) -> tuple[Array, Lattice]:
    """The best of some lattices near that of a block, for each output, with its codes; the present one is the first of them."""
    offers = [(factor, 0) for factor in _NEARBY] + [(1.0, shift) for shift in (_SHIFTS if lattice.slides else ())]
    scale = np.concatenate([lattice.scale * factor for factor, _ in offers], axis=1)
    low = np.concatenate([np.clip(lattice.low + shift, -lattice.span, 0) for _, shift in offers], axis=1)
    tried = replace(lattice, scale=scale, low=low)
    aims, olds, zeros = (np.tile(a, (1, len(offers), 1)) for a in (aim, old, zero))
    start = np.where(zeros, 0.0, nearest(olds, scale, (low, tried.high)))
    codes = descended(aims, start, gram, tried, zeros)
    split = (aim.shape[0], len(offers), aim.shape[1], -1)
    best = output_error(aims, codes, gram, tried).reshape(split[:3]).argmin(axis=1)[:, None, :, None]
    codes, scale, low = (np.take_along_axis(a.reshape(split), best, axis=1)[:, 0] for a in (codes, scale, low))
    return codes, replace(lattice, scale=scale, low=low)


def descended(weights: Array, codes: Array, gram: Array, lattice: Lattice, zero: Array | None = None) -> Array:
    """Codes [G, O, K] after coordinate descent: input by input, each code moves to where the error is least.

    In float32, as whole steps are chosen: half a step is far above its rounding.

    Args:
        zero: weights whose codes stay; by default those that are zero.
    """
    steps, (low, _) = lattice.steps(weights.shape[2]), lattice.limits(weights.shape[2])
    slope = (weights - codes * steps) @ gram  # minus half of the error's derivative
    free = weights != 0 if zero is None else ~zero
    rows = [a.transpose(0, 2, 1).astype(np.float32, order="C") for a in (codes, slope, steps, low, free)]  # [G, K, O]
    single = gram.astype(np.float32)
    for _ in range(_SWEEPS):
        if not _swept(rows, single, lattice.span):
            break
    return rows[0].transpose(0, 2, 1).astype(np.float64, order="C")


def _swept(rows: list[Array], gram: Array, span: int) -> bool:
    """One step for every input, in the codes and slopes themselves; whether any code has moved.

    Outputs are independent, so those without a step in a run of inputs are left out of it.
    """
    codes, slope, *_ = rows
    moved = False
    for start in range(0, gram.shape[1], _COLUMNS):
        part = slice(start, start + _COLUMNS)
        near = gram[:, part, part]
        steep = np.einsum("gkk->gk", near)[..., None]
        active = _steps([a[:, part] for a in rows], steep, span).any(axis=(0, 1))
        if active.any():
            inside = [a[:, part, active] for a in rows]
            change = _in_turn(inside, near, steep, span)
            codes[:, part, active] = inside[0]
            slope[:, :, active] -= gram[:, :, part] @ change
            moved = True
    return moved


def _steps(rows: list[Array], steep: Array, span: int) -> Array:
    """By how much codes would move if each were alone; `steep` is the error's second derivative by the value of each."""
    codes, slope, steps, low, free = rows
    return np.asarray((np.clip(np.rint(slope / (steep * steps)) + codes, low, low + span) - codes) * free)


def _in_turn(rows: list[Array], near: Array, steep: Array, span: int) -> Array:
    """Move codes [G, n, O] input by input, each knowing the moves before; returns the changes of the values."""
    codes, slope, steps, *_ = rows
    change = np.zeros_like(slope)
    for k in range(codes.shape[1]):
        now = [a[:, k] for a in rows]
        now[1] = slope[:, k] - (near[:, k, None, :k] @ change[:, :k])[:, 0]
        move = _steps(now, steep[:, k], span)
        codes[:, k] += move
        change[:, k] = move * steps[:, k]
    return change


def refitted(weights: Array, codes: Array, gram: Array, lattice: Lattice) -> Lattice:
    """Scales with the least error for given codes, block by block; as before where the codes are all zero."""
    scale, inputs = lattice.scale.copy(), weights.shape[2]
    slope = (weights - codes * lattice.steps(inputs)) @ gram
    for b, part in lattice.blocks(inputs):
        inside = codes[..., part]
        along, power = (
            np.einsum("gok,gok->go", side, inside) for side in (slope[..., part], inside @ gram[:, part, part])
        )
        if lattice.shared:
            along, power = np.full(along.shape, along.sum()), np.full(power.shape, power.sum())
        change = along / np.where(power > 0, power, 1.0)
        change = np.where((power > 0) & (scale[..., b] + change > 0), change, 0.0)
        scale[..., b] += change
        if part.stop < inputs:
            slope -= (change[..., None] * inside) @ gram[:, part]
    return replace(lattice, scale=scale)
