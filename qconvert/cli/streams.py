"""Standard streams that outlive their reader: `qconvert ... | head -1` finishes its work and keeps its exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO

from ..pipeline.storage.staging import output_error


class Forgiving:
    """A text stream that falls silent when nobody reads it any more; other failures become one clear error.

    Attributes:
        name: for the message.
    """

    def __init__(self, stream: TextIO, name: str) -> None:
        self._stream, self.name = stream, name

    def write(self, text: str) -> int:
        """Write, or drop the text where nobody reads it."""
        self._try(lambda: self._stream.write(text))
        return len(text)

    def flush(self) -> None:
        """Flush, or do nothing where nobody reads."""
        self._try(self._stream.flush)

    def _try(self, action: Callable[[], object]) -> None:
        try:
            action()
        except OSError as error:
            self._mute()
            if not isinstance(error, BrokenPipeError):
                raise output_error(error, self.name) from error

    def _mute(self) -> None:
        """Let the descriptor lead nowhere, so that what is still buffered cannot fail again at exit."""
        with suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)

    def __getattr__(self, attribute: str) -> Any:
        return getattr(self._stream, attribute)


@contextmanager
def forgiving_streams() -> Iterator[None]:
    """Wrap standard output and standard error; one that was closed from the start (`>&-`) leads nowhere."""
    before = sys.stdout, sys.stderr
    with open(os.devnull, "w", encoding="utf-8") as nowhere:
        sys.stdout = Forgiving(before[0] or nowhere, "standard output")
        sys.stderr = Forgiving(before[1] or nowhere, "standard error")
        try:
            yield
        finally:
            sys.stdout, sys.stderr = before
