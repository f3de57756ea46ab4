"""Drafts of many recipes for one model and dataset; what recipes have in common is made once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..calibrate import Sketch, Sketcher, collect
from ..canonicalize import canonicalize
from ..data import Dataset
from ..errors import fail
from ..optimize import Draft, Lab
from ..recipe import Recipe, Source
from .convert import Request, open_data
from .drafts import drafted
from .events import Stages
from .planning import Planned, make_plan


@dataclass(frozen=True, eq=False)
class Built:
    """A recipe's draft, and the laboratory in which it was made."""

    recipe: Recipe
    planned: Planned
    draft: Draft
    lab: Lab
    skipped: tuple[str, ...] = ()


class Workshop:
    """Makes drafts, and keeps the statistics of tensors from one recipe to the next."""

    def __init__(self, request: Request, stages: Stages) -> None:
        """Plan the request's recipe, and open its data.

        Raises:
            QConvertError: whatever is wrong with model, recipe or data.
        """
        self.request, self.stages = request, stages
        self.first = make_plan(request.model, request.recipe, stages, request.source, folder=request.base_dir)
        self.dataset = self._data()
        self.known = frozenset(
            node.name for node in canonicalize(self.first.original, extra=self.first.target.lowers).graph.nodes
        )
        self._sketches: dict[tuple[str, str], Sketch] = {}

    def _planned(self, recipe: Recipe, source: Source | None) -> Planned:
        return make_plan(self.request.model, recipe, Stages(), source, folder=self.request.base_dir)

    def _data(self) -> Dataset:
        if self.request.data is None:
            raise fail(
                "D001", "sensitivity is measured on data, and no dataset was given", None, "give a folder with `-d`"
            )
        dataset = open_data(self.request, self.first, self.stages)
        if dataset is None:
            raise fail("D001", "no dataset", self.request.data, "give a folder with `-d`")
        return dataset

    def build(self, recipe: Recipe, source: Source | None = None, enough: Callable[[], bool] = lambda: False) -> Built:
        """The best draft of a recipe, the same as a conversion makes.

        Args:
            enough: asked before each algorithm whether to leave it and the rest out.
        """
        known = recipe == self.request.recipe
        planned = self.first if known else self._planned(recipe, source)
        sketches, threads = self._calibrated(planned), self.request.threads
        made = drafted(planned, self.dataset, sketches, recipe, source, self.stages, threads, enough)
        return Built(recipe, made.planned, made.draft, made.lab, made.skipped)

    def _calibrated(self, planned: Planned) -> dict[str, Sketch]:
        """Statistics of the plan's tensors; only those that no earlier plan of the same graph watched are collected."""
        form = str(planned.graph)
        missing = {name: Sketcher() for name in planned.plan.observed if (form, name) not in self._sketches}
        if missing:
            with self.stages.stage("calibrate") as progress:
                total = len(self.dataset.calibration)
                collect(
                    planned.graph,
                    self.dataset.calibration,
                    {n: (s,) for n, s in missing.items()},
                    self.request.threads,
                    lambda done: progress(done, total),
                )
            self._sketches.update({(form, name): sketcher.result() for name, sketcher in missing.items()})
        return {name: self._sketches[form, name] for name in planned.plan.observed}
