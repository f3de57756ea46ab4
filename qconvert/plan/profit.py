"""Placement by profit: predicted times as a minimum cut, with a price on multiply-accumulates that are left float."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from math import prod

from ..graph import Node
from ..ops import macs, spec
from ..targets.costs import CostModel
from .cost import conversion_ns
from .model import Kind
from .placement import Unit, Wire, integer_units
from .work import Work

_PRICE_STEPS = 12


def profitable(
    work: Work, model: CostModel, forced: frozenset[str] = frozenset(), barred: frozenset[str] = frozenset()
) -> frozenset[str]:
    """Names of the nodes that run in integers with static ranges.

    A multiply-accumulate left float must save at least `float_mac_price` times the average time of one, so that a file does
    not become a patchwork for a percent of speed. The price rises until the recipe's least integer share holds.

    Args:
        forced, barred: nodes that must, or must not, be integer whatever the model says.
    """
    price = model.float_mac_price if work.recipe.integer_macs > 0 else 0.0
    best = _at_price(work, model, forced, barred, price)
    for _ in range(_PRICE_STEPS):
        if _share(work, best) >= work.recipe.integer_macs:
            return best
        price = max(2 * price, 0.25)
        best = _at_price(work, model, forced, barred, price)
    return best


def _share(work: Work, integer: frozenset[str]) -> float:
    """Integer share of those multiply-accumulates that could be integer."""
    sizes = {
        n.name: macs(n, work.graph, work.shapes) for n in work.graph.nodes if work.found[n.name].kind is Kind.INTEGER
    }
    total = sum(sizes.values())
    return sum(size for name, size in sizes.items() if name in integer) / total if total else 1.0


def _at_price(
    work: Work, model: CostModel, forced: frozenset[str], barred: frozenset[str], price: float
) -> frozenset[str]:
    total_ns = sum(e.float_ns for e in work.estimates.values())
    total_macs = sum(macs(n, work.graph, work.shapes) for n in work.graph.nodes) or 1
    per_mac = price * total_ns / total_macs
    gain = model.min_gain * total_ns
    units = [_unit(work, node, per_mac, gain) for node in work.graph.nodes if _in_cut(work, node)]
    units = [replace(u, must=u.may and (u.must or u.name in forced), may=u.may and u.name not in barred) for u in units]
    return integer_units(units, _wires(work, model))


def _in_cut(work: Work, node: Node) -> bool:
    reason = work.found[node.name].reason
    return work.found[node.name].kind is not Kind.ABSORBED and not (reason and reason.code == "P005")


def _unit(work: Work, node: Node, per_mac: float, gain: float) -> Unit:
    candidate, cost = work.found[node.name], work.estimates[node.name]
    row = spec(node)
    weighted = row is not None and row.weighted
    may = candidate.kind is Kind.INTEGER and cost.integer_ns is not None
    absorbed = [n for n in work.graph.consumers_of(node.output) if work.found[n.name].host == node.name]
    float_ns = cost.float_ns + sum(work.estimates[n.name].float_ns for n in absorbed)
    if may:
        float_ns += per_mac * macs(node, work.graph, work.shapes)
    integer_ns = (cost.integer_ns or 0.0) + gain * weighted
    return Unit(node.name, float_ns, integer_ns, may, candidate.forced, work.writes_alone(node))


def _wires(work: Work, model: CostModel) -> Iterable[Wire]:
    for name in work.graph.values():
        shape = work.shapes.get(name)
        if shape is None or prod(shape) == 0 or work.graph.type_of(name).dtype not in ("float32", None):
            continue
        producer = work.graph.producer.get(name)
        readers = [
            n for n in work.graph.consumers_of(name) if producer is None or work.found[n.name].host != producer.name
        ]
        if readers or name in work.graph.outputs:
            yield Wire(
                work.host_of(producer) if producer is not None else "",
                tuple(dict.fromkeys(n.name for n in readers)),
                name in work.graph.outputs,
                conversion_ns(model.quantize, model.relayout, shape),
                conversion_ns(model.dequantize, model.relayout, shape),
            )
