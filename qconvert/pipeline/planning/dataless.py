"""What can be done with a model for which there is no data."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import get_args

from ...errors import QConvertError, fail
from ...plan import Exceptions, Kind
from ...recipe import Recipe, SourceMap
from .chosen import target_of
from .planned import Planned, replanned


def refuse_without_data(planned: Planned, recipe: Recipe, source: SourceMap | None) -> None:
    """Refuse a plan whose ranges come from data.

    Raises:
        QConvertError: D001 with the modes of the target that would do without.
    """
    if not planned.plan.taps:
        return
    modes = [f"`{mode}`" for mode in modes_without_data(planned, recipe, source)]
    near = f", or choose a mode that needs none: {', '.join(modes)}" if modes else ""
    text = f"this plan has {len(planned.plan.taps)} tensors whose ranges come from data, and no dataset was given"
    raise fail("D001", text, None, f"give a folder with `-d`{near}")


def modes_without_data(planned: Planned, recipe: Recipe, source: SourceMap | None) -> Iterator[str]:
    """Modes in which the target makes something of the model without any data."""
    for mode in get_args(Recipe.model_fields["mode"].annotation):
        other = recipe.model_copy(update={"mode": mode})
        try:
            asked = replace(planned, target=target_of(other))
            chosen = replanned(asked, other, source, Exceptions(), planned.graph)
        except QConvertError:
            continue
        if not chosen.taps and (other.half or any(p.kind is not Kind.FLOAT for p in chosen.nodes.values())):
            yield mode
