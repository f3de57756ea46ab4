"""Ranges that come with a model or a table, as the plan may use them."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path

import numpy as np

from ...calibrate import RANGE_TABLES, read_ranges
from ...errors import Diagnostic, Severity, fail
from ...graph import Array, Graph
from ...lift import Span
from ...optimize import Draft
from ...recipe import Recipe
from ...runtime import assumed_inputs, observe, synthetic_feed

_SHOWN = 3
_SAME = 1e-3  # share of the largest value; rewrites round differently, a factor changes everything


def from_table(recipe: Recipe, folder: Path, graph: Graph) -> tuple[dict[str, Span], tuple[Diagnostic, ...]]:
    """Ranges of the table that the recipe names, and a warning about tensors that the model does not have.

    Args:
        folder: where the recipe's paths start.

    Raises:
        QConvertError: R015 where the table cannot be read or has nothing to do with the model.
    """
    if recipe.calibration.read is None:
        return {}, ()
    path = folder / recipe.calibration.read
    table, known = read_ranges(path), set(graph.values())
    found = {name: span for name, span in table.items() if name in known}
    unknown = [name for name in table if name not in known]
    near = next((close for name in unknown if (close := get_close_matches(name, known, 1, 0.7))), None)
    hint = (
        f"is `{near[0]}` meant?" if near else "names are those of the ONNX model's tensors; `qconvert inspect` shows it"
    )
    if not found:
        raise fail("R015", f"none of the {len(table)} tensors of this table is in the model", path, hint)
    if not unknown:
        return found, ()
    names = ", ".join(f"`{name}`" for name in unknown[:_SHOWN])
    text = f"{len(unknown)} of {len(table)} tensors are not in the model: {names}{', ...' * (len(unknown) > _SHOWN)}"
    return found, (Diagnostic("M105", text, str(path), hint, Severity.WARNING),)


def write_tables(recipe: Recipe, draft: Draft, model: Path) -> tuple[Path, ...]:
    """The files beside the model that the recipe asks for its ranges."""
    names = {key: draft.graph.by_name[key[0]].input(key[1]) for key in draft.weights}
    weights = {name: draft.weights[key] for key, name in names.items()}
    written = []
    for form in recipe.calibration.write:
        ending, content = RANGE_TABLES[form]
        path = model.with_name(model.stem + ending)
        path.write_text(content(draft.activations, weights), encoding="utf-8")
        written.append(path)
    return tuple(written)


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
