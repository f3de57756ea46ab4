"""Drafts of many recipes for one model and dataset; what recipes have in common is made once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ...canonicalize import canonicalize
from ...data import Dataset
from ...errors import fail
from ...optimize import Draft, Lab
from ...recipe import Recipe, SourceMap
from ..drafting.data import first_feeds, open_data
from ..drafting.drafts import drafted
from ..drafting.statistics import statistics
from ..events import Stages
from ..planning import Planned, load_model, make_plan
from ..request import Request
from ..storage.cache import Cache, Memory


@dataclass(frozen=True, eq=False)
class Built:
    """A recipe's draft, and the laboratory in which it was made."""

    recipe: Recipe
    planned: Planned
    draft: Draft
    lab: Lab
    skipped: tuple[str, ...] = ()


class Workshop:
    """Makes drafts, and keeps what one recipe has in common with the next."""

    def __init__(self, request: Request, stages: Stages) -> None:
        """Plan the request's recipe, and open its data.

        Raises:
            QConvertError: whatever is wrong with model, recipe or data.
        """
        self.request, self.stages = request, stages
        self.model = load_model(request.model, request.recipe, stages, request.base_dir)
        self.dataset = self._data()
        self.first = make_plan(self.model, request.recipe, stages, request.source, first_feeds(self.dataset))
        self.known = frozenset(
            node.name for node in canonicalize(self.first.original, extra=self.first.target.rewrites.always).graph.nodes
        )
        self.cache: Cache = request.cache or Memory()

    def _planned(self, recipe: Recipe, source: SourceMap | None) -> Planned:
        return make_plan(self.model, recipe, Stages(), source, first_feeds(self.dataset))

    def _data(self) -> Dataset:
        if self.request.data is None:
            raise fail(
                "D001", "sensitivity is measured on data, and no dataset was given", None, "give a folder with `-d`"
            )
        dataset = open_data(self.request, self.model.graph, self.stages)
        if dataset is None:
            raise fail("D001", "no dataset", self.request.data, "give a folder with `-d`")
        return dataset

    def build(
        self, recipe: Recipe, source: SourceMap | None = None, enough: Callable[[], bool] = lambda: False
    ) -> Built:
        """The best draft of a recipe, the same as a conversion makes.

        Args:
            enough: asked before each algorithm whether to leave it and the rest out.
        """
        known = recipe == self.request.recipe
        planned = self.first if known else self._planned(recipe, source)
        threads, stages = self.request.threads, self.stages
        found = statistics(planned.graph, planned.plan.observed, self.dataset, stages, threads, self.cache)
        made = drafted(planned, self.dataset, found.sketches, recipe, source, stages, threads, enough, self.cache)
        return Built(recipe, made.planned, made.draft, made.lab, made.skipped)
