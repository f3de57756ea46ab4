"""The search: add the changes that pay best until the goals are met, then take back what was not needed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..optimize.sensitivity import Move, listed
from ..recipe import Recipe, dump
from .model import Outcome, Trial
from .recipes import with_moves

ROUNDS = 8
_PATIENCE = 3  # rounds in a row that may fail to gain
_WORTH_DB = 0.1
_CLOSE = 1e-9


@dataclass(frozen=True, slots=True)
class Goals:
    """What the result must reach; None where nothing is asked.

    Attributes:
        drop: largest drop of the metric; sqnr: smallest output SQNR in dB; speedup: smallest measured speed-up.
        metric: what the drop is of, in words.
    """

    drop: float | None = None
    sqnr: float | None = None
    speedup: float | None = None
    metric: str = "the task metric"

    def limits(self, found: Outcome) -> tuple[str, ...]:
        """The goals that an outcome misses, in words."""
        missed = [found.refused] if found.refused else []
        if self.drop is not None and (found.drop is None or found.drop > self.drop + _CLOSE):
            missed.append(f"drop of {self.metric}: {_shown(found.drop)}, wanted at most {self.drop:.4g}")
        if self.sqnr is not None and not found.sqnr_db >= self.sqnr:
            missed.append(f"output SQNR: {found.sqnr_db:.1f} dB, wanted at least {self.sqnr:.1f} dB")
        if self.speedup is not None and (found.measured_speedup is None or found.measured_speedup < self.speedup):
            missed.append(f"speed-up: {_shown(found.measured_speedup)}, wanted at least {self.speedup:.3g}")
        return tuple(missed)

    @property
    def words(self) -> tuple[str, ...]:
        """The goals for a report."""
        drop = () if self.drop is None else (f"drop of {self.metric} at most {self.drop:.4g}",)
        sqnr = () if self.sqnr is None else (f"output SQNR at least {self.sqnr:.1f} dB",)
        speed = () if self.speedup is None else (f"at least {self.speedup:.3g} times the speed of FP32",)
        return (*drop, *sqnr, *speed)

    def accurate(self, found: Outcome) -> bool:
        """Whether the goals of accuracy are met, speed aside."""
        return not Goals(self.drop, self.sqnr, None, self.metric).limits(found)


def _shown(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.4g}"


@dataclass(frozen=True, slots=True)
class Variant:
    """A change of the recipe as a whole that costs no time at inference: its name and the recipe's new values."""

    name: str
    update: tuple[tuple[str, object], ...]


class Search:
    """One search, deterministic as long as `attempt` and `over` are."""

    def __init__(
        self,
        recipe: Recipe,
        goals: Goals,
        attempt: Callable[[Recipe], Outcome],
        propose: Callable[[Recipe, int], Sequence[Move]],
        over: Callable[[], bool] = lambda: False,
        say: Callable[[str], None] = lambda line: None,
        variants: Sequence[Variant] = (),
    ) -> None:
        """Prepare a search.

        Args:
            attempt: what a recipe gives on the evaluation samples.
            propose: the changes that pay best for a recipe, so many of them, best first.
            over: whether the time is up.
            say: receives every decision in words.
            variants: changes of the whole recipe to try before layers are left float.
        """
        self._recipe, self._goals, self._attempt, self._propose = recipe, goals, attempt, propose
        self._over, self._say, self._variants = over, say, variants
        self.trials: list[Trial] = []
        self.recipes: list[Recipe] = []
        self.ended = ""
        self.timed_out = False

    def run(self) -> int:
        """Search, and return the index of the best trial."""
        best = self._try("as given", self._recipe, ())
        for variant in self._variants:
            if best.met or self._late():
                break
            best = self._varied(best, variant)
        if not self._goals.accurate(best.outcome):
            self._rescue(best)
        return self.best()

    def best(self) -> int:
        """Of the trials that meet all goals the fastest by prediction, else the one that comes closest."""
        met = [i for i, trial in enumerate(self.trials) if trial.met]
        if met:
            return min(met, key=self._cost)
        return min(
            range(len(self.trials)),
            key=lambda i: (
                not self._goals.accurate(self.trials[i].outcome),
                *_error(self.trials[i].outcome, self._goals),
                i,
            ),
        )

    def _cost(self, i: int) -> tuple[float, int, int, int]:
        """Time, then the number of changes, then size."""
        trial = self.trials[i]
        return (_time(trial.outcome, self._goals), len(trial.steps), trial.outcome.bytes, i)

    def _try(self, name: str, base: Recipe, steps: tuple[Move, ...]) -> Trial:
        recipe = with_moves(base, steps)
        outcome = self._attempt(recipe)
        limits = self._goals.limits(outcome)
        trial = Trial(name=name, steps=steps, recipe=dump(recipe), outcome=outcome, met=not limits, limits=limits)
        self.trials.append(trial)
        self.recipes.append(recipe)
        self._say(f"{name}: {_figures(outcome)}; {'all goals are met' if not limits else '; '.join(limits)}")
        return trial

    def _varied(self, best: Trial, variant: Variant) -> Trial:
        """A variant, which becomes the base of what follows if it is better."""
        recipe = self._recipe.model_copy(update=dict(variant.update))
        trial = self._try(variant.name, recipe, ())
        if trial.met or _gains(trial, best, self._goals):
            self._recipe = recipe
            return trial
        return best

    def _rescue(self, best: Trial) -> None:
        """Make ever more changes, twice as many each round, until the accuracy is reached."""
        steps: tuple[Move, ...] = ()
        tried: set[tuple[str, tuple[str, ...], str]] = set()
        size, failed = 1, 0
        for _ in range(ROUNDS):
            if self._late():
                self._end("the time is up")
                return
            base = with_moves(self._recipe, steps)
            found = [s for s in self._propose(base, size + len(tried)) if _key(s) not in tried][:size]
            if not found or failed == _PATIENCE:
                self._end(
                    "no further change gains accuracy" if not found else f"the last {failed} attempts gained nothing"
                )
                return
            tried.update(_key(s) for s in found)
            trial = self._try(_added(steps, found), self._recipe, (*steps, *found))
            if self._goals.accurate(trial.outcome):
                self._trim(steps, tuple(found))
                return
            if _gains(trial, best, self._goals):
                steps, best, size, failed = (*steps, *found), trial, size * 2, 0
            else:
                failed += 1
                self._say(f"taken back: {listed(found)}")

        self._end(f"{ROUNDS} rounds of changes were made")

    def _late(self) -> bool:
        """Whether the time is up; that there was something left to try is remembered."""
        self.timed_out = self.timed_out or self._over()
        return self.timed_out

    def _end(self, why: str) -> None:
        self.ended = why
        self._say(why)

    def _trim(self, before: tuple[Move, ...], last: tuple[Move, ...]) -> None:
        """The fewest of the last changes that still meet the goals, by halving."""
        low, high = 0, len(last)
        while high - low > 1 and not self._late():
            middle = (low + high) // 2
            trial = self._try(_added(before, last[:middle]), self._recipe, (*before, *last[:middle]))
            low, high = (low, middle) if self._goals.accurate(trial.outcome) else (middle, high)


def _key(move: Move) -> tuple[str, tuple[str, ...], str]:
    return (move.kind, move.names, move.method)


def _added(before: Sequence[Move], moves: Sequence[Move]) -> str:
    """The name of a trial that adds moves to earlier ones."""
    earlier = f"{len(before)} earlier change{'' if len(before) == 1 else 's'}; " if before else ""
    return earlier + listed(moves)


def _figures(found: Outcome) -> str:
    parts = [] if found.drop is None else [f"drop {found.drop:.4g}"]
    parts.append(f"{found.sqnr_db:.1f} dB")
    if found.speedup is not None:
        parts.append(f"predicted {found.speedup:.2f}x")
    if found.measured_speedup is not None:
        parts.append(f"measured {found.measured_speedup:.2f}x")
    return ", ".join(parts)


def _gains(new: Trial, old: Trial, goals: Goals) -> bool:
    a, b = new.outcome, old.outcome
    if a.sqnr_db > b.sqnr_db + _WORTH_DB:
        return True
    return goals.drop is not None and a.drop is not None and b.drop is not None and a.drop < b.drop - _CLOSE


def _error(found: Outcome, goals: Goals) -> tuple[float, float]:
    drop = float(found.drop) if goals.drop is not None and found.drop is not None else 0.0
    return (max(drop - (goals.drop or 0.0), 0.0), -float(found.sqnr_db))


def _time(found: Outcome, goals: Goals) -> float:
    if goals.speedup is not None and found.measured_speedup:
        return 1 / float(found.measured_speedup)
    return float(found.ns) if found.ns is not None else 0.0


def pareto(trials: Sequence[Trial], goals: Goals) -> tuple[int, ...]:
    """Trials that no other one equals or beats in accuracy, time and size at once.

    Accuracy is the drop where that is a goal; SQNR decides among equal drops.
    """
    rows = [(_accuracy(t.outcome, goals), _time(t.outcome, goals), float(t.outcome.bytes)) for t in trials]
    return tuple(
        i for i, row in enumerate(rows) if not any(_beats(other, row, j < i) for j, other in enumerate(rows) if j != i)
    )


_Row = tuple[tuple[float, float], float, float]


def _accuracy(found: Outcome, goals: Goals) -> tuple[float, float]:
    return (0.0 if goals.drop is None or found.drop is None else float(found.drop), -float(found.sqnr_db))


def _beats(a: _Row, b: _Row, earlier: bool) -> bool:
    return a[0] <= b[0] and a[1] <= b[1] and a[2] <= b[2] and (a != b or earlier)
