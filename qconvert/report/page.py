"""Pages for a browser: one file with everything in it, which opens offline and asks the network for nothing."""

from __future__ import annotations

from functools import cache
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from .. import __version__
from . import charts, words

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

MOST_ROWS = 1000  # of a table; the JSON report has them all


def page(template: str, **values: Any) -> str:
    """A page from one of the templates, all of which extend `layout.html`."""
    return _environment().get_template(template).render(**values, charts=charts, words=words, version=__version__)


def title_of(path: PurePath) -> str:
    """The file, with its folder where the name alone says nothing."""
    return f"{path.parent.name}/{path.name}" if path.stem == "model" and path.parent.name else path.name or "model"


@cache
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    made = Environment(
        loader=PackageLoader("qconvert.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_finalize,
    )
    made.filters.update(
        {
            f.__name__: f
            for f in (
                words.decibel,
                words.percent,
                words.ratio,
                words.duration,
                words.seconds,
                words.size,
                words.number,
                words.metric_value,
            )
        }
    )
    made.filters["marked"] = _marked
    made.globals["MOST_ROWS"] = MOST_ROWS
    return made


def _marked(text: str) -> Markup:
    """Text with `names` in backticks as code."""
    from markupsafe import Markup, escape

    parts = words.clean(text).split("`")
    if len(parts) % 2 == 0:
        return escape(words.clean(text))
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if n % 2 else escape(part) for n, part in enumerate(parts)
    )


def _finalize(value: Any) -> Any:
    """Strings without characters that HTML forbids; None as nothing."""
    return "" if value is None else words.clean(value) if type(value) is str else value
