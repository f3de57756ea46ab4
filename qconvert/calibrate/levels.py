"""Levels that are not evenly spaced: tables of a few numbers that weights are rounded to, each row with a scale of its own.

* k-means: the table with the least (weighted) squared error, by Lloyd's iteration from the companding start, a density of levels
  with the cube root of that of the values (Panter and Dite 1951).
* quantile: as many values at each level (the equalized histogram).
* matched: levels at the quantiles of the normal distribution, as the histogram of trained weights nearly is (Dettmers et al. 2023).
* logarithmic: zero and powers of one base, which is fitted; power-of-two: base 2, and scales that are powers of two as well.
* ternary: -1, 0, 1 (Li et al. 2016); binary: -1, 1 (Rastegari et al. 2016).
"""

from __future__ import annotations

from itertools import pairwise
from statistics import NormalDist

import numpy as np

from ..graph import Array, numpy_dtype

LEARNED = ("k-means", "quantile")  # the table follows the values
FIXED = ("matched", "logarithmic", "power-of-two", "binary", "ternary")
FLOATS = {"nvfp4": "float4_e2m1fn", "mxfp8": "float8_e4m3fn"}  # all numbers of a small float type, with a scale a block
LEVELS = (*LEARNED, *FIXED, *FLOATS)
_UNIT = {"nvfp4": 8.0, "mxfp8": 512.0}  # the power of two above the largest number
_BASES = (1.15, 1.3, 1.5, 1.75, 2.0, 2.5)
_SHRINK = np.array([1.45, 1.2, 1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.42, 0.35, 0.28])
_SEEN = 1 << 18  # values that a table is learned from
_ROUNDS, _LLOYD = 4, 40


def fitted(rows: Array, kind: str, bits: int, importance: Array | None = None) -> tuple[Array, Array]:
    """Table [2^bits] of a kind, ascending, and scales [R] for rows [R, n] of weights.

    Args:
        importance: [n] or [R, n], how much a squared error counts; None for all alike.
    """
    values = rows.astype(np.float64)
    weight = np.broadcast_to(np.ones(()) if importance is None else importance.astype(np.float64), values.shape)
    if kind == "logarithmic":
        tries = [_with_table(values, weight, _powers(base, bits)) for base in _BASES]
        table, scale, _ = min(tries, key=lambda found: found[2])
        return table, scale
    if kind in FIXED:
        table, scale, _ = _with_table(values, weight, fixed(kind, bits), whole=kind == "power-of-two")
        return table, scale
    if kind in FLOATS:
        return _in_floats(values, weight, kind)
    return _learned(values, weight, kind, 2**bits)


def _in_floats(values: Array, weight: Array, kind: str) -> tuple[Array, Array]:
    """All numbers of a float type, with scales as its blocks store them.

    Those of MXFP8 are powers of two (E8M0), those of NVFP4 are FP8 numbers times one number for the whole tensor.
    """
    table, unit = numbers(FLOATS[kind]), _UNIT[kind]
    _, scale, _ = _with_table(values, weight, (table / unit).astype(np.float32), whole=kind == "mxfp8")
    scale = scale / unit
    if kind == "nvfp4":
        whole = global_scale(scale)
        scale = (scale / whole).astype(numpy_dtype("float8_e4m3fn")).astype(np.float32) * whole
    return table, np.maximum(scale, np.finfo(np.float32).tiny).astype(np.float32)


def global_scale(scale: Array) -> Array:
    """The float32 number that takes the largest scale of NVFP4 blocks to the largest FP8 number."""
    return np.asarray(scale.max(initial=0.0) / 448 or 1.0, dtype=np.float32)


def numbers(dtype: str) -> Array:
    """The finite numbers of a float type of up to 8 bits, ascending, zero once."""
    kind = numpy_dtype(dtype)
    bits = 4 if "float4" in dtype else 8
    every = np.arange(2**bits, dtype=np.uint8).view(kind).astype(np.float32)
    return np.unique(every[np.isfinite(every)])


def fixed(kind: str, bits: int) -> Array:
    """The table of a kind that does not follow the values, largest magnitude 1."""
    match kind:
        case "binary":
            return np.array([-1.0, 1.0], dtype=np.float32)
        case "ternary":
            return np.array([-1.0, 0.0, 1.0], dtype=np.float32)
        case "power-of-two":
            return _powers(2.0, bits)
    normal, half = NormalDist(), 2 ** (bits - 1)
    below = [normal.inv_cdf((i + 0.5) / (2 * half + 1)) for i in range(half)]
    above = [normal.inv_cdf(1 - (i + 0.5) / (2 * half - 1)) for i in range(half - 1)]
    table = np.array([*below, 0.0, *reversed(above)])
    return np.asarray(table / np.abs(table).max(), dtype=np.float32)


def _powers(base: float, bits: int) -> Array:
    """Zero and powers of a base, one more of them below zero; up to 1."""
    half = 2 ** (bits - 1)
    below = [-(base**-i) for i in range(half)]
    above = [base**-i for i in range(half - 1)]
    return np.array([*below, 0.0, *reversed(above)], dtype=np.float32)


def nearest(values: Array, table: Array) -> Array:
    """Index of the nearest level."""
    return np.searchsorted((table[1:] + table[:-1]) / 2, values)


def _with_table(values: Array, weight: Array, table: Array, whole: bool = False) -> tuple[Array, Array, float]:
    """The table, the best scale of each row, and the error; `whole` allows powers of two only."""
    reach = np.abs(values).max(axis=1, initial=0.0)
    best, scale = np.full(len(values), np.inf), np.ones(len(values))
    for shrink in _SHRINK:
        tried = _settled(values, weight, table, np.where(reach > 0, reach * shrink, 1.0), whole)
        error = (weight * np.square(table[nearest(values / tried[:, None], table)] * tried[:, None] - values)).sum(
            axis=1
        )
        scale, best = np.where(error < best, tried, scale), np.minimum(best, error)
    return table, scale.astype(np.float32), float(best.sum())


def _settled(values: Array, weight: Array, table: Array, scale: Array, whole: bool) -> Array:
    if whole:
        return np.exp2(np.round(np.log2(scale)))
    return _rescaled(values, weight, table, _rescaled(values, weight, table, scale))


def _rescaled(values: Array, weight: Array, table: Array, scale: Array) -> Array:
    """Scales [R] with the least error for the levels that the values take now."""
    taken = table[nearest(values / scale[:, None], table)].astype(np.float64)
    above, below = (weight * values * taken).sum(axis=1), (weight * taken * taken).sum(axis=1)
    return np.where((above > 0) & (below > 0), above / np.maximum(below, 1e-300), scale)


def _learned(values: Array, weight: Array, kind: str, count: int) -> tuple[Array, Array]:
    """Table and scales in turn: levels of the values in units of their rows, then scales for these levels."""
    spread = np.sqrt(np.square(values).mean(axis=1))
    scale = np.where(spread > 0, spread, 1.0)
    table = np.zeros(count)
    for _ in range(_ROUNDS):
        units, mass = _thinned(values / scale[:, None]), _thinned(weight * np.square(scale)[:, None])
        table = _table(units, mass, kind, count)
        scale = _rescaled(values, weight, table, scale)
    return table.astype(np.float32), scale.astype(np.float32)


def _thinned(values: Array) -> Array:
    flat = values.reshape(-1)
    stride = -(-flat.size // _SEEN)
    while stride > 1 and np.gcd(stride, flat.size) != 1:  # it must not lock onto a row
        stride += 1
    return np.asarray(flat[::stride])


def _table(units: Array, mass: Array, kind: str, count: int) -> Array:
    """The levels of values; zeros that pruning left keep a level of their own."""
    zeros = units == 0
    if not units.size or zeros.all():
        return np.linspace(-1.0, 1.0, count) if count % 2 else np.append(np.linspace(-1.0, 0.0, count - 1), 1.0)
    if zeros.mean() > 1 / count:
        return np.sort(np.append(_table(units[~zeros], mass[~zeros], kind, count - 1), 0.0))
    order = np.argsort(units, kind="stable")
    units, mass = units[order], np.maximum(mass[order], 1e-300)
    return _equalized(units, mass, count) if kind == "quantile" else _lloyd(units, mass, count)


def _equalized(units: Array, mass: Array, count: int) -> Array:
    """Means of as many equal parts of the sorted values."""
    edges = np.linspace(0, units.size, count + 1).astype(int)
    parts = [slice(a, max(b, a + 1)) for a, b in pairwise(edges)]
    return np.sort(np.array([np.average(units[p], weights=mass[p]) if units[p].size else units[-1] for p in parts]))


def _lloyd(units: Array, mass: Array, count: int) -> Array:
    """Weighted k-means of sorted values in one dimension."""
    masses, moments = (np.concatenate([[0.0], np.cumsum(a)]) for a in (mass, mass * units))
    table = _companded(units, count)
    for _ in range(_LLOYD):
        ends = np.concatenate([[0], np.searchsorted(units, (table[1:] + table[:-1]) / 2), [units.size]])
        inside = np.diff(masses[ends])
        moved = np.where(inside > 0, np.diff(moments[ends]) / np.where(inside > 0, inside, 1.0), table)
        if np.array_equal(moved, table):
            break
        table = np.sort(moved)
    return table


def _companded(units: Array, count: int) -> Array:
    """A start: levels as dense as the cube root of the density of the sorted values."""
    edges = np.quantile(units, np.linspace(0, 1, 257))
    width = np.maximum(np.diff(edges), 1e-12)
    reached = np.concatenate([[0.0], np.cumsum(width ** (2 / 3))])  # (1 / width)^(1/3) * width
    return np.asarray(np.interp((np.arange(count) + 0.5) / count * reached[-1], reached, edges))
