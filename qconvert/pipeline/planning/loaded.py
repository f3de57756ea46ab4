"""A model as it is planned: read, found fit, and freed from the quantization that it may have had."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ...graph import Graph, load
from ...lift import Lifted, Span, lift
from ...recipe import Recipe
from ..events import Stages
from .chosen import target_of
from .effects import idle, refuse_unknown_sizes
from .given import from_table
from .suitable import refuse


@dataclass(frozen=True, eq=False)
class Loaded:
    """A model without the quantization that it may have had.

    Attributes:
        spans: intervals that are known without data, from the file or a table, by tensor.
    """

    lifted: Lifted
    spans: Mapping[str, Span]

    @property
    def graph(self) -> Graph:
        """The float graph."""
        return self.lifted.graph


def load_model(model: Path, recipe: Recipe, stages: Stages, folder: Path = Path(".")) -> Loaded:
    """Read a model.

    Args:
        folder: where the recipe's paths start.

    Raises:
        QConvertError: M0xx for the model, R009 for a recipe that does not fit it.
    """
    target_of(recipe)  # what no model can have is refused before a large one is read
    with stages.stage("load"):
        loaded = load(model)
        refuse(loaded, model)
        refuse_unknown_sizes(recipe, loaded)
        lifted = lift(loaded)
        listed, notes = from_table(recipe, folder, lifted.graph)
    stages.note(*idle(recipe), *lifted.notes, *notes)
    return Loaded(lifted, {**lifted.spans, **listed})
