"""Runs the application and decides the exit code."""

from __future__ import annotations

import json
import os
import platform
import signal
import sys
import tempfile
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from types import FrameType
from typing import NoReturn

import typer

from .. import __version__
from ..errors import EXIT_INTERRUPTED, EXIT_TERMINATED, Diagnostic, QConvertError
from ..pipeline.storage.staging import NO_SPACE
from .streams import forgiving_streams

# ClickException: of click, or of the copy that newer typers bring
_USAGE: type[Exception] = typer.BadParameter.__mro__[2]
_SIGNALS = {signal.SIGINT: ("interrupted", EXIT_INTERRUPTED), signal.SIGTERM: ("terminated", EXIT_TERMINATED)}


class _Stopped(BaseException):
    """SIGINT or SIGTERM, as an exception, so that partial files are removed on the way out."""


def run(arguments: Sequence[str]) -> int:
    """Run one command and return the exit code of the process."""
    with forgiving_streams(), _signals():
        try:
            return _run(list(arguments))
        except QConvertError as error:  # standard output cannot take the JSON document
            _show(error.diagnostics, False)
            return error.exit_code


def _run(arguments: list[str]) -> int:
    as_json = "--json" in arguments
    try:
        return _invoke(arguments)
    except QConvertError as error:
        _show(error.diagnostics, as_json)
        return error.exit_code
    except (_Stopped, KeyboardInterrupt) as stop:
        word, code = _SIGNALS[stop.args[0] if isinstance(stop, _Stopped) else signal.SIGINT]
        hint = "; ".join(getattr(stop, "__notes__", ())) or None
        _show((Diagnostic("X002", f"{word}: nothing half-written is left", None, hint),), as_json)
        return code
    except _USAGE as error:
        _show((_usage(error),), as_json)
        return 2
    except OSError as error:
        full = error.errno in NO_SPACE
        _show((_no_space(error) if full else _bug(error, arguments),), as_json)
        return 7 if full else 1
    except Exception as error:  # the last line of defence: whatever gets here is a bug in qconvert
        _show((_bug(error, arguments),), as_json)
        return 1


def _invoke(arguments: list[str]) -> int:
    from .app import app

    code = app(arguments or ["--help"], prog_name="qconvert", standalone_mode=False) or 0
    sys.stdout.flush()
    return int(code)


@contextmanager
def _signals() -> Iterator[None]:
    """Turn the first signal into an exception; those that follow must not disturb the cleaning up."""

    def stop(number: int, frame: FrameType | None) -> NoReturn:
        for each in _SIGNALS:
            signal.signal(each, signal.SIG_IGN)
        raise _Stopped(number)

    before = {number: signal.signal(number, stop) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _usage(error: Exception) -> Diagnostic:
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "qconvert"
    text = error.format_message() if hasattr(error, "format_message") else str(error)
    return Diagnostic("R011", text.strip().rstrip("."), None, f"`{command} --help` shows the options")


def _no_space(error: OSError) -> Diagnostic:
    hint = "free some space; `TMPDIR` says where temporary files go"
    return Diagnostic("O002", f"no space left: {error.strerror}", error.filename, hint)


def _bug(error: Exception, arguments: list[str]) -> Diagnostic:
    text = (
        f"qconvert {__version__}, Python {platform.python_version()}, {platform.platform()}\narguments: {arguments}\n\n"
    )
    return Diagnostic(
        "X001",
        f"internal error: {type(error).__name__}: {error}",
        None,
        f"please report it with {_log(text + ''.join(traceback.format_exception(error)))}",
    )


def _log(text: str) -> str:
    """Keep a log of a bug; where even that is impossible, show it instead."""
    with suppress(OSError):
        handle, name = tempfile.mkstemp(prefix="qconvert-", suffix=".log")
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        return name
    print(text, file=sys.stderr)
    return "the lines above"


def _show(diagnostics: tuple[Diagnostic, ...], as_json: bool) -> None:
    from .console import errors_json, show_diagnostics

    show_diagnostics(diagnostics)
    if as_json:
        print(json.dumps(errors_json(diagnostics), ensure_ascii=False), flush=True)
