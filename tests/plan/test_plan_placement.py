"""The minimum cut against every placement there is, on small random graphs."""

from itertools import product

from hypothesis import given, settings
from hypothesis import strategies as st

from qconvert.plan.placement import Unit, Wire, integer_units

TIMES = st.integers(0, 20).map(float)


@st.composite
def problems(draw: st.DrawFn) -> tuple[list[Unit], list[Wire]]:
    count = draw(st.integers(1, 7))
    units = []
    for n in range(count):
        may = draw(st.booleans() | st.just(True))
        must = may and draw(st.sampled_from([False, False, False, True]))
        units.append(Unit(f"u{n}", draw(TIMES), draw(TIMES), may, must, draw(st.booleans() | st.just(True))))
    wires = []
    for n in range(-1, count):
        later = [f"u{m}" for m in range(n + 1, count)]
        readers = tuple(draw(st.lists(st.sampled_from(later), unique=True, max_size=3))) if later else ()
        outside = draw(st.sampled_from([(), (), ("shape",)]))
        wires.append(
            Wire(f"u{n}" if n >= 0 else "", (*readers, *outside), draw(st.booleans()), draw(TIMES), draw(TIMES))
        )
    return units, wires


def cost(units: list[Unit], wires: list[Wire], integer: frozenset[str]) -> float:
    """The time of a placement, word for word as the module describes it, plus a trifle for each integer unit."""
    names = {unit.name for unit in units}
    total = sum(unit.integer_ns + 0.001 if unit.name in integer else unit.float_ns for unit in units)
    for wire in wires:
        if wire.source not in integer and any(reader in integer for reader in wire.readers):
            total += wire.quantize_ns
        if wire.source in integer and next(u for u in units if u.name == wire.source).writes:
            floats = [reader for reader in wire.readers if reader not in integer or reader not in names]
            total += wire.dequantize_ns * (len(floats) + wire.exposed)
    return total


def allowed(units: list[Unit], integer: frozenset[str]) -> bool:
    return all((unit.may or unit.name not in integer) and (not unit.must or unit.name in integer) for unit in units)


@settings(max_examples=120, deadline=None)
@given(problems())
def test_the_cut_is_the_best_of_all_placements(problem: tuple[list[Unit], list[Wire]]) -> None:
    units, wires = problem
    chosen = integer_units(units, wires)
    assert allowed(units, chosen)
    sides = product([False, True], repeat=len(units))
    every = (frozenset(u.name for u, integer in zip(units, side, strict=True) if integer) for side in sides)
    best = min(cost(units, wires, side) for side in every if allowed(units, side))
    assert abs(cost(units, wires, chosen) - best) < 1e-6


def test_ties_go_to_float() -> None:
    assert integer_units([Unit("a", 5, 5)], []) == frozenset()
    assert integer_units([Unit("a", 5.01, 5)], []) == {"a"}


def test_a_tensor_that_many_read_is_quantized_once() -> None:
    readers = tuple(f"r{n}" for n in range(4))
    units = [Unit(name, 10, 8) for name in readers]
    assert integer_units(units, [Wire("", readers, False, 7, 7)]) == set(readers)
    assert integer_units(units, [Wire("", readers, False, 9, 7)]) == frozenset()


def test_nothing_to_place() -> None:
    assert integer_units([], []) == frozenset()
