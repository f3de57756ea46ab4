"""Steps of the accuracy algorithms that a cache keeps, found again by the content of the draft that they start from.

The laboratory in which drafts are judged is part of the key: the FP32 graph, the samples, the settings of the calibration and
what decides how a draft is emitted and run. The name of the target is not, nor are predicted times.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress

from ...errors import Diagnostic, Severity
from ...optimize import Draft, StepOutcome
from ...optimize.stored import UnfitError, digest, read, written
from .cache import Cache, cache_key


class CachedMemo:
    """A memo in a cache.

    Args:
        lab: what results depend on beside the draft.
    """

    def __init__(self, cache: Cache, lab: str) -> None:
        self._cache, self._lab = cache, lab
        self.taken: list[str] = []

    def score(self, about: str, draft: Draft, make: Callable[[], float]) -> float:
        """The score of a draft."""
        key = cache_key("score", self._lab, about, digest(draft))
        content = self._cache.get(key)
        if content is not None:
            return float(content)
        value = make()
        self._cache.put(key, repr(float(value)).encode())
        return value

    def outcome(self, about: str, draft: Draft, make: Callable[[], StepOutcome]) -> StepOutcome:
        """What a step came to."""
        key = cache_key("step", self._lab, about, digest(draft))
        content = self._cache.get(key)
        if content is not None:
            self.taken.append(about)
            return _read(content, draft)
        made = make()
        with suppress(UnfitError):
            self._cache.put(key, _written(made, draft))
        return made

    def notes(self, steps: int) -> tuple[Diagnostic, ...]:
        """What was taken over, and what went wrong with the cache."""
        text = f"{len(self.taken)} of {steps} steps of the accuracy algorithms were at hand"
        found = (Diagnostic("O102", text, None, None, Severity.NOTE),) if self.taken else ()
        return (*found, *self._cache.notes())


def _written(made: StepOutcome, start: Draft) -> bytes:
    head = json.dumps([float(made.before), float(made.after), made.held_back]).encode()
    return head + b"\n" + (b"" if made.draft is None else written(made.draft, start))


def _read(content: bytes, start: Draft) -> StepOutcome:
    head, _, rest = content.partition(b"\n")
    before, after, told = json.loads(head)
    return StepOutcome(before, after, read(rest, start) if rest else None, told)
