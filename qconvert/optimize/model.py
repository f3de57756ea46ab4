"""What an accuracy algorithm is."""

from __future__ import annotations

from dataclasses import dataclass

from ..data.settings import Settings


@dataclass(frozen=True)
class Algorithm:
    """One row of the table.

    Attributes:
        settings: type of its settings in the recipe.
    """

    settings: type[Settings]


ALGORITHMS: dict[str, Algorithm] = {}
