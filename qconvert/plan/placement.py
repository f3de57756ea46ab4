"""Where to run in integers: an exact minimum cut over predicted times.

Every node is either integer or float. Its own time depends on its side; each tensor that crosses from float to integer pays
one quantization however many read it, and one dequantization per float reader the other way. Minimising the sum is a
minimum s-t cut (Greig, Porteous and Seheult 1989), so the result is the optimum of the model and needs no search order.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import networkx as nx

_NEVER = 10**15  # more than any sum of times in picoseconds


@dataclass(frozen=True, slots=True)
class Unit:
    """A node (with the clamp it absorbs) as the cut sees it.

    Attributes:
        float_ns, integer_ns: predicted time on each side.
        may: integer is allowed; must: integer is required (by rule).
        writes: in integer form the output is integer, so float readers pay for the conversion.
    """

    name: str
    float_ns: float
    integer_ns: float
    may: bool = True
    must: bool = False
    writes: bool = True


@dataclass(frozen=True, slots=True)
class Wire:
    """A tensor between units.

    Attributes:
        source: the unit that writes it; "" for a graph input.
        readers: units that read it as data.
        exposed: it is a graph output as well.
        quantize_ns, dequantize_ns: time of one conversion.
    """

    source: str
    readers: tuple[str, ...]
    exposed: bool
    quantize_ns: float
    dequantize_ns: float


def integer_units(units: Sequence[Unit], wires: Iterable[Wire]) -> frozenset[str]:
    """Names of the units that are fastest in integers; ties go to float."""
    import networkx as nx  # 0.1 s that only a placement by profit needs

    cut = nx.DiGraph()
    cut.add_nodes_from(["integer", "float"])
    by_name = {unit.name: unit for unit in units}
    for unit in units:
        _edge(cut, "integer", ("unit", unit.name), _NEVER if unit.must else _ps(unit.float_ns))
        # The extra picosecond lets ties go to float: copies in a float region must not become islands.
        _edge(cut, ("unit", unit.name), "float", _ps(unit.integer_ns) + 1 if unit.may or unit.must else _NEVER)
    for n, wire in enumerate(wires):
        _add_wire(cut, n, wire, by_name)
    _, (integer, _) = nx.minimum_cut(cut, "integer", "float")
    return frozenset(unit.name for unit in units if ("unit", unit.name) in integer)


def _add_wire(cut: nx.DiGraph, n: int, wire: Wire, units: Mapping[str, Unit]) -> None:
    # An edge a -> b is paid when a is integer and b is float.
    source = ("unit", wire.source) if wire.source in units else "float"
    integer_source = wire.source in units and units[wire.source].writes
    readers = [("unit", r) for r in wire.readers if r in units]
    if readers and wire.quantize_ns > 0:
        meeting = ("quantized", n)  # on the integer side as soon as one reader is: pays once
        for reader in readers:
            _edge(cut, reader, meeting, _NEVER)
        _edge(cut, meeting, source, _ps(wire.quantize_ns))
    if integer_source:
        outside = len(wire.readers) - len(readers) + wire.exposed
        for reader in readers:
            _edge(cut, source, reader, _ps(wire.dequantize_ns))
        if outside:
            _edge(cut, source, "float", _ps(wire.dequantize_ns) * outside)


def _edge(cut: nx.DiGraph, a: object, b: object, capacity: int) -> None:
    if a != b:
        old = cut.get_edge_data(a, b, {"capacity": 0})["capacity"]
        cut.add_edge(a, b, capacity=old + capacity)


def _ps(ns: float) -> int:
    return max(0, round(ns * 1000))
