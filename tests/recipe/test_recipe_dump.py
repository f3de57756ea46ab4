"""Recipes as text again."""

from contextlib import suppress
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qconvert.data.settings import DatasetSettings, InputSettings, Preprocess, Resize
from qconvert.errors import QConvertError
from qconvert.recipe import (
    Calibration,
    Change,
    Evaluation,
    Gates,
    Match,
    Recipe,
    Regression,
    Rule,
    Vocabulary,
    dump,
    parse_recipe,
)

NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
TEXT = st.one_of(
    st.text(max_size=20),
    st.sampled_from(["no", "1e5", "0o17", "010", "1:30", "~", "2024-01-01", "<<", "=", "a: b", "x #y", "1%"]),
)
PATTERN = TEXT.filter(lambda text: not text.startswith("re:")) | st.sampled_from(["re:.*head.*", "stem*"])
PATTERNS = PATTERN | st.lists(PATTERN, max_size=3).map(tuple)
COUNT = st.integers(1, 10**6)
SHARE = st.floats(0, 10)


def some(kind: type[Any], **fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Instances with any subset of the given fields set."""
    return st.fixed_dictionaries({}, optional=fields).map(lambda values: kind(**values))


SIZE = COUNT | st.tuples(COUNT, COUNT)
UNIT = NUMBERS | st.lists(NUMBERS, max_size=3).map(tuple)
POSITIVE = st.floats(0.001, 1000) | st.lists(st.floats(0.001, 1000), max_size=3).map(tuple)
RESIZE = st.builds(Resize, size=SIZE, mode=st.sampled_from(["shortest", "letterbox"]), fill=st.integers(0, 255))
PREPROCESS = some(
    Preprocess,
    color=st.sampled_from(["rgb", "gray", None]),
    resize=RESIZE,
    crop=SIZE,
    scale=NUMBERS,
    mean=UNIT,
    std=POSITIVE,
    dtype=TEXT,
)
INPUT = some(InputSettings, array=TEXT, preprocess=PREPROCESS)
DATASET = some(
    DatasetSettings,
    samples=COUNT,
    seed=st.integers(0, 2**32 - 1),
    preprocess=PREPROCESS,
    inputs=st.dictionaries(TEXT, INPUT, max_size=3),
    labels=TEXT,
)
MATCH = some(Match, op=PATTERNS, name=PATTERNS, tensor=PATTERNS, between=st.tuples(TEXT, TEXT)).filter(
    lambda match: match != Match()
)
CHANGE = some(
    Change,
    keep=st.sampled_from(["float", "integer"]),
    bits=st.sampled_from([8, 16]),
    symmetric=st.booleans(),
    method=st.just("mse"),
)
RULE = st.builds(Rule, match=MATCH, set=CHANGE.filter(lambda change: change != Change()))
ALGORITHM = st.sampled_from(["rounding", "bias-correction"]) | st.fixed_dictionaries(
    {"rounding": st.fixed_dictionaries({}, optional={"block": COUNT})}
)
AGAINST = TEXT | st.builds(Regression, report=TEXT, metric_drop=SHARE, sqnr=NUMBERS)
RECIPE = some(
    Recipe,
    target=st.sampled_from(["x86-vnni", "arm-neon", "tensorrt"]),
    format=st.sampled_from(["qdq", None]),
    mode=st.sampled_from(["auto", "static"]),
    shapes=st.dictionaries(TEXT, COUNT, max_size=3),
    reduce_range=st.booleans(),
    integer_macs=st.floats(0, 1),
    dataset=DATASET,
    calibration=some(Calibration, method=st.sampled_from(["mse", "entropy"]), percentile=st.floats(50.001, 100)),
    rules=st.lists(RULE, max_size=3).map(tuple),
    algorithms=st.sampled_from(["auto", "none"]) | st.lists(ALGORITHM, max_size=3).map(tuple),
    evaluation=some(Evaluation, metric=st.sampled_from(["top1", ("top1", "map"), "f.py:score"]), latency=st.booleans()),
    gates=some(Gates, metric_drop=SHARE, sqnr=NUMBERS, speedup=SHARE, against=AGAINST),
    report=st.lists(st.sampled_from(["html", "md"]), max_size=2).map(tuple),
)


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(recipe=RECIPE)
def test_reading_a_dumped_recipe_gives_the_same_recipe(recipe: Recipe, vocabulary: Vocabulary, presets: Path) -> None:
    text = dump(recipe)
    again = parse_recipe(text.encode(), "r.yaml", vocabulary, presets).recipe
    assert again == recipe
    assert dump(again) == text


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.one_of(st.text(alphabet=":-[]{}&*!|>'\"%@`#, \n\tab1", max_size=30), st.binary(max_size=20)))
def test_no_text_makes_the_reader_stumble(text: str | bytes, vocabulary: Vocabulary, presets: Path) -> None:
    with suppress(QConvertError):
        parse_recipe(text, "r.yaml", vocabulary, presets)


def test_only_what_differs_is_written() -> None:
    assert dump(Recipe()) == "target: x86-vnni\n"
    recipe = Recipe(
        extends="arm-neon",
        target="arm-neon",
        dataset=DatasetSettings(samples=3, labels="no"),
        rules=(Rule(match=Match(op=("Conv", "Gemm")), set=Change(keep="float")),),
    )
    assert dump(recipe) == (
        "target: arm-neon\n"
        "dataset:\n  samples: 3\n  labels: 'no'\n"
        "rules:\n- match:\n    op:\n    - Conv\n    - Gemm\n  set:\n    keep: float\n"
    )
