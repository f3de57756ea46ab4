"""Ranges that come with a model or a table, as the plan may use them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..graph import Array, Graph
from ..lift import Span
from ..runtime import assumed_inputs, observe, synthetic_feed

_SAME = 1e-3  # share of the largest value; rewrites round differently, a factor changes everything


def still_true(spans: Mapping[str, Span], before: Graph, after: Graph, sizes: Mapping[str, int]) -> dict[str, Span]:
    """Those of the ranges whose tensors mean the same after canonicalization, which may have moved a factor through some."""
    names = [name for name in spans if name in after.producer and name in before.producer]
    feed = synthetic_feed(assumed_inputs(before, sizes))
    old, new = observe(before, names, feed), observe(after, names, feed)
    fed = {name: span for name, span in spans.items() if name in after.feeds}
    return fed | {name: spans[name] for name in names if _alike(old[name], new[name])}


def _alike(old: Array, new: Array) -> bool:
    if old.shape != new.shape:  # channels were added
        return old.ndim == new.ndim
    reach = float(np.abs(old).max(initial=0.0))
    return bool(np.allclose(old, new, rtol=_SAME, atol=_SAME * reach, equal_nan=True))
