"""Figures as short text. Every function takes any float: NaN and infinity become words, not errors."""

from __future__ import annotations

import re
from math import isfinite, isinf, isnan

from ..evaluate.model import Interval, Metric

SHARES = frozenset({"top1", "top5", "accuracy", "f1", "precision", "recall"})  # metrics between 0 and 1
# C0 and C1 controls but tab and newline, surrogates, and what XML and HTML forbid
_NONCHARACTERS = "".join(chr(plane + 0xFFFE) + chr(plane + 0xFFFF) for plane in range(0, 0x110000, 0x10000))
_UNPRINTABLE = re.compile(f"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef{_NONCHARACTERS}]")


CORRECTED = (
    "judged with biases corrected in passing, since a later step does so in earnest; that step is judged without"
)


def number(value: float) -> str:
    """A metric's value in four digits."""
    return f"{value:.4g}"


def decibel(value: float) -> str:
    """An SQNR; infinite means equal."""
    return "exact" if isinf(value) and value > 0 else f"{value:.1f} dB"


def percent(share: float, digits: int = 1) -> str:
    """A share of 0..1; small ones keep two significant digits."""
    if isfinite(share) and 0 < abs(share) < 0.5 * 10 ** -(digits + 1):
        return f"{share * 100:.1g} %" if abs(share) >= 1e-6 else "below 0.0001 %"
    return f"{share * 100:.{digits}f} %"


def ratio(value: float) -> str:
    """How many times."""
    return f"{value:.2f}x" if not isfinite(value) or abs(value) < 100 else f"{value:.3g}x"


def duration(microseconds: float) -> str:
    """A time in the unit that reads best."""
    for limit, divisor, unit in ((1000.0, 1.0, "µs"), (1e6, 1e3, "ms"), (float("inf"), 1e6, "s")):
        if abs(microseconds) < limit:
            return f"{microseconds / divisor:.3g} {unit}"
    return f"{microseconds} µs"


def seconds(value: float) -> str:
    """A time of minutes or less."""
    return duration(value * 1e6)


def size(count: int) -> str:
    """Bytes in the unit that reads best."""
    value, unit = float(count), "B"
    for bigger in ("KiB", "MiB", "GiB"):
        if value < 1024:
            break
        value, unit = value / 1024, bigger
    return f"{value:.0f} B" if unit == "B" else f"{value:.1f} {unit}"


def count(found: int, noun: str) -> str:
    """Something counted: "1 gate", "2 gates"."""
    return f"{found:,} {noun}" + ("" if found == 1 else "s")


def metric_value(name: str, value: float) -> str:
    """A metric's value, shares in percent."""
    return percent(value, 2 if value > 0.995 else 1) if name in SHARES and not isnan(value) else number(value)


def metric_drop(metric: Metric) -> str:
    """How much worse the result is, in points for shares."""
    if metric.name not in SHARES:
        return number(metric.drop)
    return "1 point" if metric.drop == 0.01 else f"{metric.drop * 100:.2g} points"


def interval_of(interval: Interval, share: bool) -> str:
    """A 95 % confidence interval; that of a drop in a share, in points."""
    factor = 100 if share else 1
    return f"95 %: {interval.low * factor:+.2g} to {interval.high * factor:+.2g}{' points' if share else ''}"


def clean(text: str) -> str:
    """Text without characters that XML, HTML or a terminal must not get."""
    return _UNPRINTABLE.sub("\ufffd", text.replace("\r\n", "\n").replace("\r", "\n"))


def cell(text: str) -> str:
    """Text for a spreadsheet; one that would run as a formula gets an apostrophe."""
    flat = clean(text)
    return f"'{flat}" if flat.startswith(("=", "+", "-", "@", "\t")) else flat
