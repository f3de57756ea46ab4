"""A graph as a picture: the value, and the page that shows it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import CODES
from .layout import BOX, Layout, layered
from .page import page
from .words import clean, count

_LETTER, _PAD, _NARROWEST, _LONGEST = 7.3, 20, 56, 26
_MOST_LINES = 12


@dataclass(frozen=True, slots=True)
class Box:
    """A node of the picture.

    Attributes:
        kind: "integer", "absorbed", "stored" (a float node with a weight in few bits), "float", or "value" for inputs and outputs of the model.
        reason: code of why it is float, "" where there is none.
        under: a few words below the operator's name, such as the shape of its result.
        lines: what is said about it in full.
    """

    name: str
    op: str
    kind: str
    reason: str = ""
    under: str = ""
    lines: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Line:
    """A tensor between two boxes, by their numbers; `text` is its name and type."""

    start: int
    end: int
    text: str


@dataclass(frozen=True)
class Picture:
    """A whole graph in topological order; `say` tells in a sentence what is seen."""

    title: str
    subtitle: str
    say: str
    boxes: tuple[Box, ...]
    lines: tuple[Line, ...]


@dataclass(frozen=True, slots=True)
class Key:
    """A row of the legend: a colour with how many boxes have it."""

    css: str
    label: str
    number: int


_KINDS = {
    "integer": "integer",
    "absorbed": "absorbed into a neighbour",
    "stored": "float arithmetic, weight stored in few bits",
    "float": "float",
    "value": "input or output",
}
_COLOURS = 8  # of reasons


def to_page(picture: Picture) -> str:
    """One HTML file with everything in it."""
    widths = [_width(box) for box in picture.boxes]
    layout = layered(widths, [(line.start, line.end) for line in picture.lines])
    keys, css = _legend(picture.boxes)
    data = _data(picture, layout, widths, css, keys)
    return page("graph.html", picture=picture, keys=keys, data=data, size=count(len(picture.boxes), "node"))


def _width(box: Box) -> int:
    longest = max(len(_short(box.op)), 0.86 * len(_short(box.under)))
    return max(round(longest * _LETTER) + _PAD, _NARROWEST)


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


def _legend(boxes: Sequence[Box]) -> tuple[tuple[Key, ...], list[int]]:
    """The colours in use, and the number of its colour for each box."""
    found = Counter((box.kind, box.reason) for box in boxes)
    order = list(_KINDS)
    ranked = sorted(found, key=lambda k: (order.index(k[0]) if k[0] in _KINDS else len(order), -found[k], k[1]))
    reasons = [key for key in ranked if key[1]]
    keys = tuple(Key(_css(key, reasons), _label(key), found[key]) for key in ranked)
    return keys, [ranked.index((box.kind, box.reason)) for box in boxes]


def _css(key: tuple[str, str], reasons: Sequence[tuple[str, str]]) -> str:
    if not key[1]:
        return f"k-{key[0]}" if key[0] in _KINDS else "k-float"
    return f"k-r{min(reasons.index(key), _COLOURS - 1)}"


def _label(key: tuple[str, str]) -> str:
    kind, reason = key
    title = CODES[reason].title if reason in CODES else reason
    return f"{_KINDS.get(kind, kind)}: {title} [{reason}]" if reason else _KINDS.get(kind, kind)


def _data(
    picture: Picture, layout: Layout, widths: Sequence[int], css: Sequence[int], keys: Sequence[Key]
) -> Mapping[str, Any]:
    """What the script draws; short keys, as there may be thousands."""
    nodes = [
        [
            clean(b.name),
            clean(_short(b.op)),
            clean(_short(b.under)),
            c,
            x,
            y,
            w,
            [clean(t) for t in b.lines[:_MOST_LINES]],
        ]
        for b, c, (x, y), w in zip(picture.boxes, css, layout.places, widths, strict=True)
    ]
    edges = [
        [line.start, line.end, clean(line.text), path, int(n in layout.jumps)]
        for n, (line, path) in enumerate(zip(picture.lines, layout.paths, strict=True))
    ]
    return {
        "nodes": nodes,
        "edges": edges,
        "css": [k.css for k in keys],
        "labels": [k.label for k in keys],
        "width": layout.width,
        "height": layout.height,
        "box": BOX,
    }
