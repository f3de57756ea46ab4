"""The search itself, on made-up outcomes."""

from __future__ import annotations

from collections.abc import Sequence

from qconvert.optimize.sensitivity import Move
from qconvert.recipe import Recipe
from qconvert.tune import Goals, Outcome, Search, Trial, pareto
from qconvert.tune.search import Variant


def step(i: int) -> Move:
    return Move(kind="float", names=(f"n{i}",), about=f"t{i}", us=1.0)


def kept(recipe: Recipe) -> int:
    return sum(len(rule.match.name or ()) for rule in recipe.rules)


def outcome(drop: float | None, db: float, ns: float = 1.0, size: int = 100, speed: float | None = None) -> Outcome:
    return Outcome(drop=drop, sqnr_db=db, ns=ns, speedup=1 / ns, measured_speedup=speed, bytes=size, integer_share=1.0)


def by_count(recipe: Recipe) -> Outcome:
    count = kept(recipe)
    return outcome(max(0.1 - 0.01 * count, 0.0), 10.0 + count, 1.0 + 0.1 * count)


def more(recipe: Recipe, most: int) -> Sequence[Move]:
    start = kept(recipe)
    return [step(i) for i in range(start, min(start + most, 30))]


def test_nothing_is_changed_where_the_goal_is_met() -> None:
    search = Search(Recipe(), Goals(drop=0.2), by_count, more)
    assert search.run() == 0
    assert len(search.trials) == 1


def test_the_fewest_changes_that_meet_the_goal_win() -> None:
    search = Search(Recipe(), Goals(drop=0.05), by_count, more)
    winner = search.trials[search.run()]
    assert winner.met
    assert len(winner.steps) == 5
    assert len(search.trials) <= 8


def test_what_gains_nothing_is_taken_back() -> None:
    def attempt(recipe: Recipe) -> Outcome:
        names = {name for rule in recipe.rules for name in rule.match.name or ()}
        return outcome(0.0 if "n2" in names else 0.1, 20.0 if "n2" in names else 10.0 - len(names))

    search = Search(Recipe(), Goals(drop=0.01), attempt, lambda recipe, most: [step(i) for i in range(most)])
    winner = search.trials[search.run()]
    assert winner.met
    assert [s.about for s in winner.steps] == ["t2"]


def test_an_unreachable_goal_ends_with_the_closest() -> None:
    log: list[str] = []
    search = Search(Recipe(), Goals(sqnr=99.0), by_count, more, say=log.append)
    winner = search.trials[search.run()]
    assert not winner.met
    assert winner.outcome.sqnr_db == max(t.outcome.sqnr_db for t in search.trials)
    assert "output SQNR" in winner.limits[0]
    assert "no further change" in log[-1]


def test_time_ends_the_search() -> None:
    left = iter([False, False, True, True, True])
    search = Search(Recipe(), Goals(sqnr=99.0), by_count, more, over=lambda: next(left))
    search.run()
    assert len(search.trials) == 3


def test_variants_of_the_recipe_come_first() -> None:
    def attempt(recipe: Recipe) -> Outcome:
        return outcome(0.0 if recipe.reduce_range else 0.1, 10.0)

    search = Search(
        Recipe(), Goals(drop=0.01), attempt, more, variants=[Variant("seven bits", (("reduce_range", True),))]
    )
    winner = search.run()
    assert search.trials[winner].name == "seven bits"
    assert search.recipes[winner].reduce_range


def test_speed_is_a_goal_too() -> None:
    goals = Goals(speedup=2.0)
    assert goals.limits(outcome(None, 10.0, speed=1.5))
    assert not goals.limits(outcome(None, 10.0, speed=2.5))
    assert goals.accurate(outcome(None, 10.0))


def test_the_front_holds_what_nothing_beats() -> None:
    rows = [
        outcome(None, 10, 1.0),
        outcome(None, 12, 2.0),
        outcome(None, 11, 3.0),
        outcome(None, 10, 1.0),
        outcome(None, 5, 1.0, 50),
    ]
    trials = [Trial(name=str(i), steps=(), recipe="", outcome=o, met=False) for i, o in enumerate(rows)]
    assert pareto(trials, Goals(sqnr=20.0)) == (0, 1, 4)
