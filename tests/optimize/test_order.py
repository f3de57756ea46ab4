"""Lists of algorithms: what they stand for, and which contradict themselves."""

import pytest

from qconvert.errors import QConvertError
from qconvert.optimize import ALGORITHMS, ordered
from qconvert.pipeline.planning import target_of
from qconvert.recipe.types import Recipe


def names(*listed):
    return [name for name, _ in ordered(listed, ALGORITHMS)]


def test_auto_leaves_out_what_readme_calls_by_name_only():
    assert not {"prune", "absorb", "adaround"} & set(names("auto"))
    assert names("prune", "auto") == ["prune", *names("auto")]


def test_another_way_of_rounding_takes_the_place_of_that_of_auto():
    assert "reconstruct" in names("auto")
    found = ordered(("auto", "adaround"), ALGORITHMS)
    assert "reconstruct" not in dict(found)
    assert found[-1] == ("adaround", True)
    assert not dict(found)["ranges"]


@pytest.mark.parametrize(
    ("listed", "hint"),
    [
        (("reconstruct", "adaround"), "choose one of"),
        (("reconstruct", "absorb"), "list `absorb` in front of `reconstruct`"),
        (("adaround", "auto"), "list `auto` in front of `adaround`"),
        (("reconstruct", "reconstruct"), "list `reconstruct` once"),
    ],
)
def test_what_undoes_an_earlier_rounding_is_refused_before_any_data_is_read(listed, hint):
    with pytest.raises(QConvertError) as caught:
        target_of(Recipe(algorithms=listed))
    assert caught.value.diagnostics[0].code == "R009"
    assert hint in str(caught.value.diagnostics[0].hint)
    target_of(Recipe(algorithms=listed[::-1] if "absorb" in listed or "auto" in listed else listed[:1]))
