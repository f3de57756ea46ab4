"""Conditions of `--fail-on`: a figure, an operator and a limit, such as `sqnr<30` or `metric_drop>0.5%`. One that is true fails."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from math import isnan

from ..errors import Diagnostic, QConvertError
from .metrics import METRICS
from .model import GateResult

_OPERATORS: Mapping[str, tuple[Callable[[float, float], bool], str]] = {
    "<": (operator.lt, "below"),
    "<=": (operator.le, "at most"),
    ">": (operator.gt, "above"),
    ">=": (operator.ge, "at least"),
}
_CONDITION = re.compile(r"([a-z_0-9]+)\s*(?:(<=|>=|<|>)\s*(.*))?", re.DOTALL)
_NUMBER = re.compile(r"([+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:e[+-]?[0-9]+)?)\s*(\S*)")


@dataclass(frozen=True, slots=True)
class Unit:
    """How a figure is written.

    Attributes:
        factors: from each unit that a limit may carry to the factor that its number is multiplied by; "" for none.
        show: a value in words.
        example: a limit as one may write it.
    """

    factors: Mapping[str, float]
    show: Callable[[float], str]
    example: str


def _bytes(value: float) -> str:
    return f"{value:,.0f} bytes"


DECIBEL = Unit({"": 1, "dB": 1}, lambda v: f"{v:.1f} dB", "30")
SHARE = Unit({"": 1, "%": 0.01}, lambda v: f"{v:.2%}", "99%")
CHANGE = Unit({"": 1, "%": 0.01}, lambda v: f"{v:.4g}", "0.5%")
NUMBER = Unit({"": 1}, lambda v: f"{v:.5g}", "0.999")
TIMES = Unit({"": 1, "x": 1, "%": 0.01}, lambda v: f"{v:.3g}x", "1.5")
COUNT = Unit({"": 1}, lambda v: f"{v:g}", "0")
BYTES = Unit({"": 1, "B": 1, "k": 1024, "M": 1024**2, "G": 1024**3, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3, "kB": 1e3, "KB": 1e3, "MB": 1e6, "GB": 1e9}, _bytes, "2MiB")  # fmt: skip
TIME = Unit({"us": 1e-3, "µs": 1e-3, "ms": 1, "s": 1e3}, lambda v: f"{v:.4g} ms", "5ms")


@dataclass(frozen=True, slots=True)
class Figure:
    """Something that a condition can speak of.

    Attributes:
        noun: in words.
        missing: why it may not have been measured, and what to do.
        bare: it may stand alone, and is then true above 0.
    """

    noun: str
    unit: Unit
    missing: str = ""
    bare: bool = False


_LABELS = "no task metric was measured; give labels and `evaluation.metric`"
_DATA = "give data with `-d`"
MEASURED: Mapping[str, Figure] = {  # on any two models
    "metric": Figure("task metric", NUMBER, _LABELS),
    "metric_drop": Figure("drop of the task metric", CHANGE, _LABELS),
    **{name: Figure(name, NUMBER, f"name it in `evaluation.metric`: {name}") for name in METRICS},
    "sqnr": Figure("output SQNR", DECIBEL, _DATA),
    "cosine": Figure("output cosine", NUMBER, _DATA),
    "agreement": Figure("same top-1", SHARE, "an arg-max means nothing for these outputs, or there is no data"),
    "size": Figure("size", BYTES),
    "size_ratio": Figure("size ratio", TIMES),
    "latency": Figure("time of a run", TIME, "it was not timed"),
    "speedup": Figure("speedup", TIMES, "it was not timed"),
}


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition, decoded."""

    text: str
    figure: str
    sign: str
    limit: float


def parse_conditions(texts: Iterable[str], figures: Mapping[str, Figure]) -> tuple[Condition, ...]:
    """Decode conditions, several in one text separated by commas.

    Raises:
        QConvertError: R011 for every mistake.
    """
    found: list[Condition] = []
    mistakes: list[Diagnostic] = []
    for text in (part.strip() for each in texts for part in each.split(",")):
        one = _parsed(text, figures)
        found.append(one) if isinstance(one, Condition) else mistakes.append(one)
    if mistakes:
        raise QConvertError(mistakes)
    return tuple(dict.fromkeys(found))


def _parsed(text: str, figures: Mapping[str, Figure]) -> Condition | Diagnostic:
    whole = _CONDITION.fullmatch(text)
    if whole is None:
        return _mistake(f"not a condition: `{text}`", f"write one as `{_example(figures)}`")
    name, sign, limit = whole[1], whole[2], whole[3]
    figure = figures.get(name)
    if figure is None:
        near = get_close_matches(name, figures, 2, 0.5)
        guess = f"did you mean {' or '.join(f'`{n}`' for n in near)}? " if near else ""
        return _mistake(f"unknown figure `{name}` in `{text}`", f"{guess}Figures are {', '.join(figures)}")
    if sign is None:
        if figure.bare:
            return Condition(text, name, ">", 0.0)
        return _mistake(f"`{text}` says no limit", f"for instance `{name}<{figure.unit.example}`")
    value = _limit(limit, figure.unit)
    if value is None:
        units = " or ".join(unit or "no unit" for unit in figure.unit.factors)
        return _mistake(
            f"`{limit}` is no limit of `{name}`", f"a number with {units}: `{name}{sign}{figure.unit.example}`"
        )
    return Condition(text, name, sign, value)


def _limit(text: str, unit: Unit) -> float | None:
    found = _NUMBER.fullmatch(text.strip())
    factor = unit.factors.get(found[2]) if found else None
    return float(found[1]) * factor if found and factor is not None else None


def _example(figures: Mapping[str, Figure]) -> str:
    name, figure = next(iter(figures.items()))
    return f"{name}<{figure.unit.example}"


def _mistake(text: str, hint: str) -> Diagnostic:
    return Diagnostic("R011", text, "--fail-on", hint)


def judge_conditions(
    conditions: Iterable[Condition],
    figures: Mapping[str, Figure],
    values: Mapping[str, float | None],
    subject: str = "",
) -> Iterator[tuple[GateResult, Diagnostic | None]]:
    """Each condition with what became of it; one whose figure was not measured counts as failed.

    Args:
        values: figures by name.
        subject: whose they are, for the text.
    """
    for condition in conditions:
        figure, value = figures[condition.figure], values.get(condition.figure)
        holds, word = _OPERATORS[condition.sign]
        known = None if value is None or isnan(value) else value
        failed = known is None or holds(known, condition.limit)
        shown = "not measured" if known is None else figure.unit.show(known)
        of = f" of {subject}" if subject else ""
        text = f"{figure.noun}{of}: {shown}, fails {word} {figure.unit.show(condition.limit)}"
        gate = GateResult(name=condition.text, limit=condition.limit, value=known, passed=not failed, text=text)
        code, hint = ("G002", figure.missing or None) if known is None else ("G001", None)
        yield gate, Diagnostic(code, text, f"--fail-on {condition.text}", hint) if failed else None
