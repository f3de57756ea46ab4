"""What a conversion is asked to do: a model, a recipe, data and places, with nothing left to decide."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..evaluate import GateResult
from ..recipe import Recipe, SourceMap
from .storage.cache import Cache


@dataclass(frozen=True)
class Request:
    """What to convert.

    Attributes:
        output: file or folder (see `staging.destination`).
        data: dataset folder; None where the plan needs no data.
        source: places of the recipe's keys, for messages.
        base_dir: folder of the recipe, where its paths start.
        evaluate: measure accuracy and latency.
        threads: of the calibration and evaluation sessions.
        reports: folder of the reports; None for that of the output.
        recipe_files: files of the recipe, those that it extends included.
        hold_out: without an evaluation part, judge by the samples that calibration leaves out.
        judged: limits that were judged before, on the same result; they count as gates.
        update_baseline: the run becomes the baseline of `gates.against` if its other gates hold, instead of being judged by it.
        cache: results of earlier runs, and of the other targets of this one.
    """

    model: Path
    output: Path
    recipe: Recipe
    data: Path | None = None
    source: SourceMap | None = None
    base_dir: Path = Path(".")
    evaluate: bool = True
    threads: int = 1
    reports: Path | None = None
    recipe_files: tuple[Path, ...] = ()
    hold_out: bool = False
    judged: tuple[GateResult, ...] = ()
    update_baseline: bool = False
    cache: Cache | None = None

    @property
    def inputs(self) -> tuple[Path, ...]:
        """What no output may replace: the model, and the dataset with all that lies in it."""
        model = () if self.model.is_dir() else (self.model,)  # no model at all, which is told when it is read
        return model if self.data is None else (*model, self.data)

    @property
    def baseline(self) -> Path | None:
        """The file that `gates.against` names, None without one."""
        limits, target = self.recipe.gates.regression, self.recipe.target
        return None if limits is None else self.base_dir / limits.report.replace("{target}", target)
