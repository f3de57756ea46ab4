"""Which columns of a .csv table feed which input."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..errors import Diagnostic, QConvertError
from .inputs import Input, Wanted
from .labels import number


@dataclass(frozen=True)
class Columns:
    """The layout of a table.

    Attributes:
        header: whether the first line holds names.
        width: number of columns.
        inputs: column indices of each input, in order.
        label: column of the label, None if there is none.
        skipped: names of columns that are not read.
    """

    header: bool
    width: int
    inputs: Mapping[str, tuple[int, ...]]
    label: int | None = None
    skipped: tuple[str, ...] = ()


def find_columns(first: Sequence[str], second: Sequence[str] | None, wanted: Wanted, where: str) -> Columns:
    """Read the layout from the first two lines of a table.

    The first line is a header if it holds text only, names the label, or has text above a number. An input takes the columns called `name`, or `name[0]`,
    `name_0`, `name.0` and so on; the only input of a model takes all numeric columns where none is called so.

    Raises:
        QConvertError: D006, an input without columns.
    """
    if not _is_header(first, second, wanted):
        name = wanted.only("tables without a header").name
        numeric = _numeric_columns(first)
        rest = tuple(f"column {i + 1}" for i in range(len(first)) if i not in numeric)
        return Columns(False, len(first), {name: numeric}, None, rest)
    names = [cell.strip() for cell in first]
    label = next((names.index(n) for n in wanted.labels if n in names and n not in wanted.names), None)
    found = {i.name: _columns_of(i, names, label) for i in wanted.inputs}
    if len(wanted.inputs) == 1 and not any(found.values()) and wanted.inputs[0].array is None:
        sample = second or ()
        found = {wanted.inputs[0].name: _numeric_columns(sample, label)}
    missing = [name for name, indices in found.items() if not indices]
    if missing and second is not None:
        hint = (
            "call the columns like the input, or `input[0]`, `input[1]` and so on; or set `dataset.inputs.NAME.array`"
        )
        raise QConvertError(
            Diagnostic("D006", f"no columns for input `{name}`; there are: {', '.join(names[:8])}", where, hint)
            for name in missing
        )
    used = {label, *(i for indices in found.values() for i in indices)}
    return Columns(True, len(names), found, label, tuple(n for i, n in enumerate(names) if i not in used))


def _is_header(first: Sequence[str], second: Sequence[str] | None, wanted: Wanted) -> bool:
    text = [isinstance(number(cell), str) for cell in first]
    if not any(text):
        return False
    below = [not isinstance(number(cell), str) for cell in second or ()]
    named = any(cell.strip() in wanted.labels for cell in first)
    return all(text) or named or any(a and b for a, b in zip(text, below, strict=False))


def _numeric_columns(cells: Sequence[str], label: int | None = None) -> tuple[int, ...]:
    return tuple(i for i, cell in enumerate(cells) if i != label and not isinstance(number(cell), str))


def _columns_of(inp: Input, names: list[str], label: int | None) -> tuple[int, ...]:
    name = inp.array or inp.name
    if name in names:
        return (names.index(name),)
    pattern = re.compile(re.escape(name) + r"(?:\[(\d+)\]|[_.]?(\d+))")
    found = [(int(m[1] or m[2]), i) for i, n in enumerate(names) if i != label and (m := pattern.fullmatch(n))]
    return tuple(i for _, i in sorted(found))
