"""The search itself, on made-up outcomes."""

from __future__ import annotations

from collections.abc import Sequence

from qconvert.optimize.sensitivity import Move
from qconvert.recipe import Recipe
from qconvert.report.pareto import pareto_page, picture
from qconvert.tune import Goals, Outcome, Search, Trial, TuneResult, pareto
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
    assert pareto(trials(rows), Goals(sqnr=20.0)) == (0, 1, 4)


def test_of_a_front_by_drop_sqnr_decides_only_among_equal_drops() -> None:
    rows = [outcome(0.02, 30, 1.0), outcome(0.01, 20, 2.0), outcome(0.01, 25, 2.0), outcome(0.012, 40, 3.0)]
    assert pareto(trials(rows), Goals(drop=0.005)) == (0, 2)


def trials(outcomes: Sequence[Outcome]) -> list[Trial]:
    return [Trial(name=str(i), steps=(), recipe="", outcome=o, met=False) for i, o in enumerate(outcomes)]


def test_names_of_trials_say_what_they_stand_on() -> None:
    search = Search(Recipe(), Goals(drop=0.05), by_count, more)
    search.run()
    names = [trial.name.replace(" (around `t", "(").replace("`)", ")") for trial in search.trials]
    assert names[:3] == ["as given", "float: n0(0)", "1 earlier change; float: n1(1); float: n2(2)"]


def result(outcomes: Sequence[Outcome], **changes: object) -> TuneResult:
    start = TuneResult(
        target="x86-vnni", model="m.onnx", data="d", goals=("a goal",), metric="top1", trials=tuple(trials(outcomes)),
        pareto=tuple(range(len(outcomes))), winner=0, reached=True,
    )  # fmt: skip
    return start.model_copy(update=changes)


def test_better_is_up_and_to_the_right_in_the_picture() -> None:
    slow, fast = outcome(0.001, 30, 2.0), outcome(0.02, 20, 1.0)
    for changes in ({"max_drop": 0.01}, {}, {"max_drop": None, "min_sqnr": 25.0}):
        found = picture(result([slow, fast], **changes))
        first, second = found.dots
        assert float(first.x) < float(second.x)
        assert float(first.y) < float(second.y), "percent from the top"
        assert found.up.startswith("drop of top1" if changes.get("max_drop") else "output SQNR")
        assert bool(found.top) == bool(changes)
        places = [float(tick.at) for tick in found.columns]
        assert places == sorted(places)
        assert 3 <= len(places) <= 8


def test_of_two_goals_the_picture_shows_the_one_that_was_missed() -> None:
    rows = [outcome(0.001, 20, 1.0), outcome(0.0, 30, 2.0)]
    assert picture(result(rows, max_drop=0.01, min_sqnr=25.0)).up.startswith("output SQNR")
    assert picture(result(rows, max_drop=0.0005, min_sqnr=25.0)).up.startswith("drop of top1")


def test_pictures_of_what_is_exact_or_alike_can_be_drawn() -> None:
    exact = outcome(0.0, float("inf"), 1.0)
    for rows in ([exact], [exact, exact], [exact, outcome(0.5, 12.0, 3.0)]):
        for changes in ({"max_drop": 0.01}, {"min_sqnr": 300.0}, {"min_speedup": 2.0}):
            found = picture(result(rows, **changes))
            assert all(0 <= float(dot.y) <= 100 and 0 <= float(dot.x) <= 100 for dot in found.dots)
            assert len({tick.label for tick in found.rows}) == len(found.rows)


def test_the_page_shows_everything_and_needs_no_network() -> None:
    rows = [outcome(0.02, 20, 1.0), outcome(0.001, 30, 2.0)]
    page = pareto_page(result(rows, max_drop=0.01, winner=1, warnings=("nothing gains <b>",), log=("tried `a`",)))
    assert all(
        part in page for part in ("<svg", "goals met", "drop of top1", "nothing gains &lt;b&gt;", "<code>a</code>")
    )
    assert "http" not in page.replace("http-equiv", "")
