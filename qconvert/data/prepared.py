"""Files that a function of the user turns into arrays: `prepare: file.py:function` of the recipe."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import Diagnostic, QConvertError, fail
from .inputs import Wanted
from .rows import Header, plan_rows, row_arrays, row_label
from .source import Item, Row, Source
from .userfunc import user_error


@dataclass(frozen=True)
class PreparedFile(Source):
    """One file, one sample: the function gets the path and returns {input name: array}.

    It may return a label too where `dataset.labels` names it.
    """

    function: Callable[..., Any] | None = None
    spec: str = ""

    def check(self, rows: Sequence[int]) -> list[Diagnostic]:
        """Nothing is known before the function runs."""
        return []

    def read(self, rows: Sequence[int]) -> Iterator[Row]:
        """Call the function; the arrays have one row, with or without a batch axis."""
        assert self.function is not None
        for index in rows:
            try:
                result = self.function(self.item.path)
            except QConvertError:
                raise
            except (Exception, SystemExit) as error:
                raise user_error(self.spec, error, self.name) from error
            yield self._row(index, result)

    def _row(self, index: int, result: Any) -> Row:
        if not isinstance(result, Mapping):
            hint = "return {input name: array}"
            raise fail("R012", f"`{self.spec}` returned {type(result).__name__}, not a mapping", self.name, hint)
        arrays = {str(k): np.asarray(v) for k, v in result.items()}
        plan = plan_rows({k: Header(v.shape, v.dtype) for k, v in arrays.items()}, self.wanted, self.name)
        if plan.rows != 1:
            raise fail("D004", f"`{self.spec}` returned {plan.rows} rows", self.name, "return one sample for each file")
        if self.labelled and plan.label is None:
            raise fail(
                "D009",
                f"`{self.spec}` returned no `{self.wanted.labels[0]}`",
                self.name,
                "let it return the label too, or correct `dataset.labels`",
            )
        return Row(index, row_arrays(plan, arrays, 0), row_label(plan, arrays, 0))


def open_prepared(item: Item, wanted: Wanted, function: Callable[..., Any], spec: str) -> PreparedFile:
    """Describe a file that the user's function reads."""
    return PreparedFile(item, (item.path,), wanted, labelled=wanted.labels_named, function=function, spec=spec)
