"""The rescue loop and search: recipes are tried until the goals are met, and the winner is converted and written."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..calibrate import RANGE_METHODS
from ..data import Samples
from ..errors import QConvertError, fail
from ..evaluate import GateResult, model_files
from ..optimize import ALGORITHMS, ordered
from ..optimize.sensitivity import Board, Move, Sight, alternatives, candidates, ladder, look, under
from ..recipe import Recipe, Regression, dump
from ..report.page import title_of
from ..report.pareto import pareto_page
from ..tune import (
    Goals,
    Outcome,
    Search,
    Trial,
    TuneResult,
    pareto,
)
from ..tune.search import Variant
from .convert import convert
from .drafting.data import samples_with_holdout, with_holdout
from .events import Listener, Stages, silent
from .recording.publication import place_of
from .request import Request
from .storage.cache import Memory
from .storage.cached_outputs import float_outputs
from .storage.staging import publish, sha256, staged
from .tuning.candidates import Built, Workshop
from .tuning.meter import Meter
from .tuning.tuned import Checkpoint, Names, recipe_key, recipe_text, search_key

_FASTER = 1.05  # predicted speed-up below which no further layer is left float
_WORTH_DB = 0.1
_WORST = 8  # tensors for which other range methods are priced


@dataclass(frozen=True)
class TuneRequest:
    """What to search for.

    Attributes:
        base: model, output, data and the recipe that the search starts from.
        max_drop: largest drop of the task metric, or without labels of the agreement with FP32.
        min_sqnr: smallest output SQNR in dB; min_speedup: smallest measured speed-up.
        seconds: time after which no further recipe is tried.
        resume: go on from the state file of an interrupted search.
    """

    base: Request
    max_drop: float | None = None
    min_sqnr: float | None = None
    min_speedup: float | None = None
    seconds: float | None = None
    resume: bool = False


def tune(
    request: TuneRequest, listener: Listener = silent, say: Callable[[str], None] = lambda line: None
) -> TuneResult:
    """Search for the cheapest recipe that meets the goals, convert with it, and write everything.

    Raises:
        QConvertError: whatever is wrong with model, recipe or data; R011 where no goal is given.
    """
    if request.max_drop is None and request.min_sqnr is None and request.min_speedup is None:
        raise fail("R011", "no goal is given", None, "add `--max-drop 0.5%`, `--min-sqnr 20` or `--min-speedup 1.5`")
    tuning = _Tuning(request, listener, say)
    try:
        return tuning.run()
    except BaseException as stop:
        if not isinstance(stop, Exception) and tuning.state.path.exists():  # interrupted or terminated
            stop.add_note(f"what was measured is kept in {tuning.state.path}; the same command with `--resume` goes on")
        raise


class _Tuning:
    """One search with everything it needs at hand."""

    def __init__(self, request: TuneRequest, listener: Listener, say: Callable[[str], None]) -> None:
        self._started = time.monotonic()
        self.request, self.stages, self._listener = request, Stages(listener), listener
        base = request.base
        self.names = Names(place_of(base))
        self._log: list[str] = []
        self._limit = ""
        self._told = say
        self.base = replace(_from_auto(base), cache=base.cache or Memory())
        self.workshop = Workshop(self.base, self.stages)
        self._split()
        self.samples = self._evaluation()
        self._built: dict[str, Built] = {}
        shop, wants = self.workshop, (request.max_drop is not None, request.min_speedup is not None)
        reference = float_outputs(base.model, shop.first.lifted.source, self.samples, base.threads, shop.cache)
        self.meter = Meter(self.base, self.stages, reference, shop.dataset, self.samples, *wants)
        self.metric = "the task metric"
        self.state = self._state()

    # --- set up --------------------------------------------------------------------------------------------------------

    def _say(self, line: str) -> None:
        self._log.append(line)
        self._told(line)

    def _split(self) -> None:
        """Without an evaluation part, let some of the rows judge instead of calibrate."""
        dataset, recipe = self.workshop.dataset, self.base.recipe
        if dataset.evaluation is not None:
            return
        count = samples_with_holdout(dataset, recipe.dataset.samples)
        settings = recipe.dataset.model_copy(update={"samples": count})
        self.base = replace(self.base, recipe=recipe.model_copy(update={"dataset": settings}), hold_out=True)
        self.workshop = Workshop(self.base, self.stages)
        left = with_holdout(self.workshop.dataset, settings.evaluation_samples).evaluation
        self._say(
            f"the dataset has no evaluation part: {count} of its rows calibrate, {len(left) if left else 0} others judge"
        )

    def _evaluation(self) -> Samples:
        found = self.workshop.dataset.evaluation
        if found is None:
            raise fail(
                "D011", "no samples are left to judge by", self.base.data, "add a sub-folder `eval/` to the dataset"
            )
        return found

    def _state(self) -> Checkpoint:
        """The measurements of an earlier run if it is to be resumed, else an empty state."""
        r, dataset = self.request, self.workshop.dataset
        goals = f"{r.max_drop} {r.min_sqnr} {r.min_speedup}"
        model = sha256(*model_files(self.base.model, self.workshop.first.lifted.source))
        state = Checkpoint(
            self.names.state,
            search_key(model, dataset.calibration.digest(), self.samples.digest(), dump(self.base.recipe), goals),
        )
        if r.resume:
            why = state.load()
            self._say(
                f"resumed with {len(state.outcomes)} recipes that are known"
                if why is None
                else f"nothing to resume: {why}"
            )
        return state

    # --- the search ----------------------------------------------------------------------------------------------------

    def run(self) -> TuneResult:
        """Search, convert, write."""
        r = self.request
        with staged(self.names.place.folder) as _:
            goals = self._goals()
            search = Search(
                self.base.recipe, goals, self._attempt, self._propose, self._over, self._say, self._variants()
            )
            winner = search.run()
            trials = tuple(search.trials)
            result = TuneResult(
                target=self.base.recipe.target,
                model=title_of(self.base.model),
                data=str(self.base.data),
                goals=goals.words,
                max_drop=goals.drop,
                min_sqnr=goals.sqnr,
                min_speedup=goals.speedup,
                metric=self.metric if r.max_drop is not None else "",
                trials=trials,
                pareto=pareto(trials, goals),
                winner=winner,
                reached=trials[winner].met,
                ended="; ".join(line for line in (search.ended, self._limit) if line) if not trials[winner].met else "",
                log=tuple(self._log),
            )
            if search.timed_out:
                self._say("`--resume` goes on from here, with more `--time`")
                result = result.model_copy(update={"log": tuple(self._log)})
            return self._write(result, search.recipes[winner], keep_state=search.timed_out)

    def _over(self) -> bool:
        return self.request.seconds is not None and time.monotonic() - self._started > self.request.seconds

    def _goals(self) -> Goals:
        """The goals, once it is known what a drop can be measured of."""
        r = self.request
        if r.max_drop is not None:
            self._attempt(self.base.recipe)
        return Goals(r.max_drop, r.min_sqnr, r.min_speedup, self.metric)

    def _variants(self) -> tuple[Variant, ...]:
        """Changes of the whole recipe: for speed, as many float layers as the model says."""
        if self.request.min_speedup is None or self.base.recipe.integer_macs == 0:
            return ()
        return (Variant("fastest by prediction", (("integer_macs", 0.0),)),)

    def _attempt(self, recipe: Recipe) -> Outcome:
        """What a recipe gives, measured once."""
        key = recipe_key(recipe)
        known = self.state.outcomes.get(key)
        if known is not None and (self.request.max_drop is None or known.drop is not None):
            self.metric = known.metric
            return known
        built = self._build(recipe)
        found = self._measured(built)
        self.metric = found.metric
        self.state.outcomes[key] = found
        self.state.save()
        return found

    def _build(self, recipe: Recipe) -> Built:
        key = recipe_key(recipe)
        if key not in self._built:
            self._built = {key: self.workshop.build(recipe)}  # one at a time: large models are large
        return self._built[key]

    def _measured(self, built: Built) -> Outcome:
        return self.meter.measure(built)

    # --- proposals -----------------------------------------------------------------------------------------------------

    def _propose(self, recipe: Recipe, most: int) -> Sequence[Move]:
        key = f"{recipe_key(recipe)} {most}"
        if key not in self.state.proposals:
            self.state.proposals[key] = self._proposed(self._build(recipe), most)
            self.state.save()
        return self.state.proposals[key]

    def _proposed(self, built: Built, most: int) -> list[Move]:
        """The changes that pay best by a screening of the draft, as long as the file stays faster than FP32."""
        with self.stages.stage("sensitivity") as progress:
            sight = look(built.draft, built.lab, built.planned.target, progress)
            if sight is None:
                return []
            board = self._with_ranges(sight, built)
        self._limit = ""
        moves = self._laddered(board, built, most)
        left, prediction = [], built.planned.plan.prediction
        spent = (prediction.ns or 0.0) / 1000
        profit = built.recipe.placement == "profit"  # who wants integers everywhere does not ask for speed
        bound = prediction.float_ns / _FASTER / 1000 if profit and prediction.float_ns else None
        for move in moves:
            spent += move.us
            if move.us > 0 and bound is not None and spent > bound:
                self._limit = f"leaving more float, next around `{move.about}`, would make the file slower than FP32 by prediction"
                self._say(self._limit)
                break
            left.append(move)
        return left

    def _laddered(self, board: Board, built: Built, most: int) -> list[Move]:
        """The moves that pay best; other ranges, which cost nothing, only where they are measured to gain something."""
        options, sure = candidates(board, self.workshop.known), set[tuple[str, str]]()
        before: float | None = None
        while True:
            moves = ladder(board, options, most)
            ranges = ((m.names[0], m.method) for m in moves if m.kind == "range")
            doubted = next((key for key in ranges if key not in sure), None)
            if doubted is None:
                return moves
            before = built.lab.score(built.draft) if before is None else before
            gain = built.lab.score(under(built.draft, *doubted, built.recipe.calibration)) - before
            if gain >= _WORTH_DB:
                sure.add(doubted)
                continue
            options = [m for m in options if (m.names[0], m.method) != doubted]
            self._say(
                f"passed over: range method {doubted[1]}: {doubted[0]}: {gain:+.2f} dB on held-out calibration samples"
            )

    def _with_ranges(self, sight: Sight, built: Built) -> Board:
        """The screening with other range methods for the worst tensors beside it, from the same directions.

        Where an algorithm moves ranges it has weighed them already, and beginning from another method changes all that follows.
        """
        if any(ALGORITHMS[name].moves_ranges for name, _ in ordered(built.recipe.algorithm_names, ALGORITHMS)):
            return sight.board
        noise = np.square(sight.found.products).mean(axis=0)
        tensors = [(-float(noise[i]), s.name) for i, s in enumerate(sight.found.sources) if s.kind == "tensor"]
        worst = [name for _, name in sorted(tensors)[:_WORST]]
        extra = alternatives(built.draft, worst, built.recipe.calibration, RANGE_METHODS)
        if not extra:
            return sight.board
        more = look(built.draft, built.lab, built.planned.target, lambda done, total: None, only=extra)
        return sight.board if more is None else Board(sight.found.joined(more.found), sight.state, sight.corrected)

    # --- results -------------------------------------------------------------------------------------------------------

    def _write(self, result: TuneResult, recipe: Recipe, keep_state: bool) -> TuneResult:
        """Convert with the winning recipe, and write recipe, data and picture beside the model.

        Args:
            keep_state: a later search may go on from the state.
        """
        folder, names = self.names.place.folder, self.names
        moved = rebased(recipe, self.base.base_dir, folder)
        trial = result.trials[result.winner]
        judged = tuple(GateResult(name="goal", limit=0.0, value=None, passed=False, text=text) for text in trial.limits)
        request = replace(
            self.base, recipe=moved, source=None, base_dir=folder, judged=judged, output=names.place.artefact
        )
        files, warnings = self._converted(request, trial)
        outputs = (*files, *map(str, (names.recipe, names.data, names.picture)))
        final = result.model_copy(update={"outputs": outputs, "warnings": warnings, "log": tuple(self._log)})
        texts = {
            names.data: final.model_dump_json(indent=1) + "\n",
            names.picture: pareto_page(final),
            names.recipe: recipe_text(moved, final),
        }
        with staged(folder) as stage:
            for path, text in texts.items():
                (stage / path.name).write_text(text, encoding="utf-8")
            publish([(stage / path.name, path) for path in texts], [] if keep_state else [names.state])
        return final

    def _converted(self, request: Request, trial: Trial) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Files and warnings of the conversion; none where the proof refuses what even the best recipe gives.

        Raises:
            QConvertError: any other failure.
        """
        try:
            record = convert(request, self._listener)
        except QConvertError as error:
            if not trial.outcome.refused or error.diagnostics[0].code != "V005":
                raise
            self._say(f"no model is written: {error.diagnostics[0].message}")
            return (), ()
        warnings = (p for p in record.diagnostics if p.severity == "warning" and p.code[0] != "G")
        said = tuple(f"{p.message}; {p.hint}" if p.hint else p.message for p in warnings)
        return tuple(o.path for o in record.outputs), said


def _from_auto(base: Request) -> Request:
    """The request with `algorithms: auto`, unless it lists algorithms by name."""
    if base.recipe.algorithms != "none":
        return base
    return replace(base, recipe=base.recipe.model_copy(update={"algorithms": "auto"}))


def rebased(recipe: Recipe, before: Path, after: Path) -> Recipe:
    """The recipe with its paths seen from another folder."""

    def moved(text: str | None) -> str | None:
        file, colon, function = (text or "").rpartition(":") if (text or "").count(".py:") else (text or "", "", "")
        if not text or Path(file).is_absolute() or not (before / file).is_file():
            return text
        return Path(os.path.relpath(before.resolve() / file, after.resolve())).as_posix() + colon + function

    def metric(value: str | tuple[str, ...] | None) -> object:
        return tuple(moved(v) for v in value) if isinstance(value, tuple) else moved(value)

    def against(value: str | Regression | None) -> object:
        if isinstance(value, Regression):
            return value.model_copy(update={"report": moved(value.report)})
        return moved(value)

    dataset = recipe.dataset.model_copy(
        update={"prepare": moved(recipe.dataset.prepare), "labels": moved(recipe.dataset.labels)}
    )
    return recipe.model_copy(
        update={
            "dataset": dataset,
            "evaluation": recipe.evaluation.model_copy(update={"metric": metric(recipe.evaluation.metric)}),
            "gates": recipe.gates.model_copy(update={"against": against(recipe.gates.against)}),
        }
    )
