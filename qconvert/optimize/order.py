"""Which algorithms go together, and in which order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..errors import QConvertError, fail
from .model import Algorithm


def ordered(names: Sequence[str], table: Mapping[str, Algorithm]) -> tuple[tuple[str, bool], ...]:
    """The algorithms that a list means, in order, each with whether it was named.

    `auto` stands for all of its own. Where another way of rounding weights is named, it goes without its own.

    Raises:
        QConvertError: R009 where one algorithm leaves nothing of an earlier one.
    """
    rounding = any(name != "auto" and table[name].rounds for name in names)
    auto = tuple((name, False) for name, row in table.items() if row.auto and not (rounding and row.rounds))
    found = tuple(pair for name in names for pair in (auto if name == "auto" else ((name, True),)))
    rounded = ""
    for name, named in found:
        if rounded and table[name].afresh:
            raise _undone(rounded, name, named, table[name])
        rounded = name if table[name].rounds else rounded
    return found


def _undone(before: str, name: str, named: bool, row: Algorithm) -> QConvertError:
    text = f"`{name}` starts from FP32 weights, so that nothing is left of `{before}` before it"
    hint = f"choose one of `{before}` and `{name}`" if row.rounds and name != before else ""
    first = name if named else "auto"
    hint = hint or (f"list `{name}` once" if name == before else f"list `{first}` in front of `{before}`")
    return fail("R009", text, "algorithms", hint)
