"""How a message looks: code, place, what is wrong; the hint on a line of its own."""

from __future__ import annotations

from rich.text import Text

_STYLE = {"error": "bold red", "warning": "yellow", "note": "cyan"}


def message_text(code: str, severity: str, message: str, where: str | None, hint: str | None) -> Text:
    """A diagnostic for a terminal; the same text without colours."""
    text = Text()
    text.append(f"{severity}[{code}]", _STYLE[severity])
    text.append(f": {where}: {message}" if where else f": {message}")
    if hint:
        text.append("\n  hint: ", "bold").append(hint)
    return text
