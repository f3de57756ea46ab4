"""Which models can be quantized at all; what cannot is refused with the reason before any work starts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from ...errors import Diagnostic, QConvertError, fail
from ...graph import Array, Graph, Node, TensorType
from ...ops import Role, spec
from ...plan import Kind, Plan, Reason
from ...targets import Target

ASSUMED = 64  # for a dimension that is open, where anything is to be said before it is known
_CHUNK = 1 << 22  # values looked at together, so that a mapped weight is never held in memory as a whole


def refuse(graph: Graph, model: Path) -> None:
    """Refuse what cannot be quantized.

    Raises:
        QConvertError: M010 for inputs that are no tensors, M011 for broken weights, M012 for a model that nothing goes into.
    """
    if not graph.feeds:
        raise fail(
            "M012",
            "the graph has no inputs, so its outputs are constants",
            model,
            "export the model with its input as a graph input",
        )
    for name in graph.feeds:
        if graph.type_of(name).other:
            raise fail(
                "M010",
                f"input `{name}` is no tensor but a sequence, an optional or the like, which has no shape",
                model,
                "export the model with tensors as its inputs, or cut it behind the nodes that make tensors of them",
            )
    for name, kind in _broken(graph):
        raise fail(
            "M011",
            f"weight `{name}` holds {kind} values",
            model,
            "export the model again, or repair the checkpoint that it comes from",
        )


def fixed_shapes(graph: Graph, target: Target, sizes: Mapping[str, int]) -> Graph:
    """The graph with every input dimension a number, for targets whose files fix them: `sizes` by name, and 1 for a batch.

    Raises:
        QConvertError: M010 for an open dimension that is not among them, and for one of 0.
    """
    if not target.artefact.static_shapes:
        return graph
    types = dict(graph.types)
    for name in graph.feeds:
        kind = graph.type_of(name)
        dims = kind.shape or ()
        if 0 in dims:
            text = f"input `{name}` has no elements, as dimension {dims.index(0)} is 0"
            raise fail("M010", text, None, "export the model with inputs that hold something")
        for place, dim in enumerate(dims):
            if not isinstance(dim, int) and place > 0 and dim not in sizes:
                raise fail(
                    "M010",
                    f"dimension {place} of input `{name}` is open ({dim or 'unnamed'}), {target.title} files have fixed sizes",
                    None,
                    f"give its size: `shapes: {{{dim or 'name'}: {ASSUMED}}}`, or export the model with a fixed one",
                )
        types[name] = TensorType(kind.dtype, tuple(d if isinstance(d, int) else sizes.get(d or "", 1) for d in dims))
    return graph.with_(types=types)


def refuse_float(target: Target, graph: Graph, chosen: Plan) -> None:
    """Refuse what would stay float, on targets that run integers only.

    Raises:
        QConvertError: M014 for every such node, with the reason; what to do is said once for all that it helps.
    """
    said: set[str | None] = set()
    found = [
        Diagnostic(
            "M014",
            f"{node.op}: {chosen.nodes[node.name].reason}",
            f"node `{node.name}`",
            _advice(target, node, chosen.nodes[node.name].reason),
        )
        for node in graph.nodes
        if chosen.nodes[node.name].kind not in (Kind.INTEGER, Kind.ABSORBED)
    ]
    if found:
        raise QConvertError([_once(each, said) for each in found])


def _once(found: Diagnostic, said: set[str | None]) -> Diagnostic:
    """Without a hint that an earlier message has given."""
    if found.hint in said:
        return replace(found, hint=None)
    said.add(found.hint)
    return found


def _advice(target: Target, node: Node, reason: Reason | None) -> str:
    advice, usual = dict(target.advice), "replace it, or cut the model before it"
    return advice.get(node.op) or advice.get(reason.code if reason else "", usual)


def _broken(graph: Graph) -> Iterator[tuple[str, str]]:
    """Weights with NaN, and weights and biases of layers with infinity: bounds and masks may well be infinite."""
    in_layers = {
        name
        for n in graph.nodes
        if (row := spec(n)) is not None
        for i, name in enumerate(n.inputs)
        if row.role(i) in (Role.WEIGHT, Role.BIAS)
    }
    for name, values in _floats(graph):
        if _any(values, np.isnan):
            yield name, "NaN"
        elif name in in_layers and _any(values, np.isinf):
            yield name, "infinite"


def _floats(graph: Graph) -> Iterator[tuple[str, Array]]:
    for name in graph.weights:
        if "float" in (graph.type_of(name).dtype or ""):
            yield name, graph.weights[name].numpy()
    for node in graph.nodes:
        value = node.attr("value") if node.op == "Constant" else None
        if isinstance(value, np.ndarray) and value.dtype.kind == "f":
            yield node.output, value


def _any(values: Array, test: np.ufunc) -> bool:
    flat = values.reshape(-1)
    return any(bool(test(flat[start : start + _CHUNK]).any()) for start in range(0, flat.size, _CHUNK))
