"""Task metrics that a user writes: `file.py:function` in the recipe.

The function is called once for the FP32 model and once for the result, each time with an iterator over the evaluation samples
that yields `(sample id, inputs by name, outputs by name, label)`; the model runs while it iterates, so that only one sample is
in memory. It returns a number, or a mapping of names to numbers. Larger is better unless the function says otherwise:

    def error(samples):
        ...
    error.higher_is_better = False                    # or {"ate": False, "recall": True} for named numbers
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from numbers import Real
from pathlib import Path
from typing import Any, TypeAlias

from ..data import load_function
from ..data.samples import Samples
from ..errors import QConvertError, fail
from ..graph import Array
from ..runtime import Runnable
from .metrics.paired import metric
from .model import Metric

Judged: TypeAlias = tuple[str, dict[str, Array], dict[str, Array], Any]


@dataclass(frozen=True)
class UserMetric:
    """A loaded function.

    Attributes:
        spec: as in the recipe, `file.py:function`.
        file: where its code is.
    """

    spec: str
    file: Path
    function: Callable[[Iterator[Judged]], Any]

    @property
    def name(self) -> str:
        """Name of the metric where the function returns a single number."""
        return self.spec.rpartition(":")[2]


def load_metric(spec: str, base_dir: Path) -> UserMetric:
    """Import a user's function.

    Raises:
        QConvertError: R012 where it cannot be imported.
    """
    return UserMetric(spec, (base_dir / spec.rpartition(":")[0]).resolve(), load_function(spec, base_dir))


def user_metrics(
    functions: Mapping[str, UserMetric],
    reference: Runnable,
    others: Mapping[str, Runnable],
    samples: Samples,
    tick: Callable[[], None] = lambda: None,
) -> dict[str, dict[str, tuple[Metric, ...]]]:
    """Call each function once for every model.

    Args:
        tick: called after each run of a model.

    Returns:
        For each of the others, what each function gives for it against the reference.

    Raises:
        QConvertError: R012 for an exception inside the function, with its place there, or for an answer that is no number;
            M009 and the errors of the data as they come.
    """
    found: dict[str, dict[str, tuple[Metric, ...]]] = {key: {} for key in others}
    for spec, user in functions.items():
        before, count = _answer(user, reference, samples, tick)
        for key, session in others.items():
            after = before if session is reference else _answer(user, session, samples, tick)[0]
            found[key][spec] = _paired(user, before, after, count)
    return found


def _paired(user: UserMetric, before: dict[str, float], after: dict[str, float], count: int) -> tuple[Metric, ...]:
    if before.keys() != after.keys():
        names = f"{', '.join(before) or 'none'} for FP32, {', '.join(after) or 'none'} for the result"
        raise fail(
            "R012",
            f"`{user.name}` returned different names: {names}",
            user.file,
            "let it return the same names for every batch",
        )
    return tuple(
        metric(name, before[name], after[name], higher_is_better=_higher_is_better(user, name), samples=count)
        for name in before
    )


def _answer(
    user: UserMetric, session: Runnable, samples: Samples, tick: Callable[[], None]
) -> tuple[dict[str, float], int]:
    stream = _Stream(session, samples, tick)
    try:
        answer = user.function(iter(stream))
    except QConvertError:
        raise  # of the model or the data, while it iterated
    except (Exception, SystemExit) as error:
        raise _failure(user, error) from error
    return _numbers(user, answer), stream.count


class _Stream:
    """The samples with the outputs of one model, computed while iterating; counts what was taken."""

    def __init__(self, session: Runnable, samples: Samples, tick: Callable[[], None]) -> None:
        self._session, self._samples, self._tick = session, samples, tick
        self.count = 0

    def __iter__(self) -> Iterator[Judged]:
        for sample in self._samples:
            outputs = self._session.run(sample.feed)
            self.count += 1
            self._tick()
            yield sample.id, dict(sample.feed), outputs, sample.label


def _failure(user: UserMetric, error: BaseException) -> QConvertError:
    """R012 with the last place in the user's file."""
    places = [
        f for f in traceback.extract_tb(error.__traceback__) if f.filename and Path(f.filename).resolve() == user.file
    ]
    line = f":{places[-1].lineno}" if places else ""
    text = f"`{user.name}` raised {type(error).__name__}: {error}"
    return fail("R012", text, f"{user.file}{line}", f"in `{places[-1].line}`" if places and places[-1].line else None)


def _numbers(user: UserMetric, answer: Any) -> dict[str, float]:
    if isinstance(answer, Mapping):
        return {str(name): _number(user, value, f" for `{name}`") for name, value in answer.items()}
    return {user.name: _number(user, answer, "")}


def _number(user: UserMetric, value: Any, what: str) -> float:
    value = value.item() if getattr(value, "ndim", None) == 0 else value
    if isinstance(value, Real):
        return float(value)
    text = f"`{user.name}` returned {_article(value)}{what}, not a number"
    raise fail("R012", text, user.file, "return a number, or a mapping of names to numbers")


def _article(value: Any) -> str:
    return "nothing" if value is None else f"{type(value).__name__} {value!r:.40}"


def _higher_is_better(user: UserMetric, name: str) -> bool:
    said = getattr(user.function, "higher_is_better", True)
    said = said.get(name, True) if isinstance(said, Mapping) else said
    if not isinstance(said, bool):
        hint = f"`{user.name}.higher_is_better = False`, or a mapping of names to booleans"
        raise fail("R012", f"higher_is_better of `{name}` is {_article(said)}, not a boolean", user.file, hint)
    return said
