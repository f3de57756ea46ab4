"""Runs the application and decides the exit code."""

from __future__ import annotations

import json
import os
import platform
import signal
import sys
import tempfile
import traceback
from pathlib import Path
from types import FrameType
from typing import NoReturn

import click

from .. import __version__
from ..errors import EXIT_INTERRUPTED, EXIT_TERMINATED, Diagnostic, QConvertError


class _Terminated(BaseException):
    """SIGTERM, as an exception, so that partial files are removed on the way out."""


def run(arguments: list[str]) -> int:
    """Run one command and return the exit code of the process."""
    from .app import app

    signal.signal(signal.SIGTERM, _terminate)
    try:
        return app(arguments, standalone_mode=False) or 0
    except QConvertError as error:
        _show(error.diagnostics, "--json" in arguments)
        return error.exit_code
    except (KeyboardInterrupt, click.exceptions.Abort):
        _plain("interrupted: nothing was written")
        return EXIT_INTERRUPTED
    except _Terminated:
        _plain("terminated: nothing was written")
        return EXIT_TERMINATED
    except click.exceptions.Exit as leave:
        return int(leave.exit_code)
    except click.ClickException as error:
        _show((_usage(error),), "--json" in arguments)
        return 2
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:  # the last line of defence: whatever gets here is a bug in qconvert
        _show((_bug(error, arguments),), "--json" in arguments)
        return 1


def _terminate(number: int, frame: FrameType | None) -> NoReturn:
    raise _Terminated


def _usage(error: click.ClickException) -> Diagnostic:
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "qconvert"
    return Diagnostic("R011", error.format_message().rstrip("."), None, f"`{command} --help` shows the options")


def _bug(error: Exception, arguments: list[str]) -> Diagnostic:
    text = f"qconvert {__version__}, Python {platform.python_version()}, {platform.platform()}\narguments: {arguments}\n\n"
    handle, name = tempfile.mkstemp(prefix="qconvert-", suffix=".log")
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text + "".join(traceback.format_exception(error)))
    return Diagnostic("X001", f"internal error: {type(error).__name__}: {error}", None, f"please report it with {Path(name)}")


def _show(diagnostics: tuple[Diagnostic, ...], as_json: bool) -> None:
    from .console import errors_json, show_diagnostics

    show_diagnostics(diagnostics)
    if as_json:
        print(json.dumps(errors_json(diagnostics), ensure_ascii=False))


def _plain(text: str) -> None:
    print(text, file=sys.stderr)
