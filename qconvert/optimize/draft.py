"""What the algorithms improve, and the laboratory in which they are judged."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Protocol

from ..calibrate import QuantParams, Sketch
from ..evaluate import Comparison
from ..graph import Array, Graph
from ..plan import Exceptions, Plan
from ..recipe.types import Calibration
from ..runtime import Feed, Options, opened
from ..targets import Target


@dataclass(frozen=True, eq=False)
class Draft:
    """A result before it is written.

    Attributes:
        graph: canonical graph; its weights may already be rounded values, which quantize to themselves.
        reference: the FP32 graph that every tensor is compared with: the canonical one, or after an equalization its equal
            with rescaled channels.
        sketches: statistics by tensor, of the reference.
        activations: parameters by tensor.
        weights: parameters by (node name, input index).
    """

    graph: Graph
    reference: Graph
    plan: Plan
    sketches: Mapping[str, Sketch]
    activations: Mapping[str, QuantParams]
    weights: Mapping[tuple[str, int], QuantParams]

    def with_(self, **changes: Any) -> Draft:
        """The same draft with some fields replaced."""
        return replace(self, **changes)


@dataclass(frozen=True, eq=False)
class StepOutcome:
    """What one step of the algorithms came to.

    Attributes:
        before, after: scores in dB.
        draft: the changed draft; None where the change was not worth keeping.
        held_back: what limits in the step's settings have left out, in words.
    """

    before: float
    after: float
    draft: Draft | None
    held_back: str = ""


class Memo(Protocol):
    """What was computed before from the same draft, in a laboratory with the same samples and settings."""

    def score(self, about: str, draft: Draft, make: Callable[[], float]) -> float:
        """The score of a draft; `about` names how it is judged."""

    def outcome(self, about: str, draft: Draft, make: Callable[[], StepOutcome]) -> StepOutcome:
        """What a step came to; `about` names the step and its settings."""


class Forgetful:
    """A memo that knows nothing."""

    def score(self, about: str, draft: Draft, make: Callable[[], float]) -> float:
        """Computed each time."""
        return make()

    def outcome(self, about: str, draft: Draft, make: Callable[[], StepOutcome]) -> StepOutcome:
        """Computed each time."""
        return make()


Settle = Callable[[Draft, "Lab"], Draft]


@dataclass(frozen=True, eq=False)
class Lab:
    """Everything an algorithm may look at.

    Attributes:
        graph: canonical FP32 graph, the reference.
        fit: calibration samples that algorithms learn from.
        held_out: other calibration samples, on which every step is judged.
        target: that the plan is for.
        replan: the plan with exceptions, of a graph that an algorithm has rewritten.
        emit: writes a draft as the artefact will be.
        options: the session in which the artefact will be deployed.
        memo: what was computed before.
    """

    graph: Graph
    fit: Sequence[Feed]
    held_out: Sequence[Feed]
    calibration: Calibration
    target: Target
    replan: Callable[[Exceptions, Graph], Plan]
    emit: Callable[[Draft], Graph]
    options: Options
    memo: Memo = field(default_factory=Forgetful)

    @cached_property
    def probes(self) -> tuple[str, ...]:
        """Values by which a draft is judged: the outputs, or what a last Softmax or Sigmoid is made of.

        Probabilities close to 0 and 1 hide most of the error, and a few undecided samples would decide everything.
        """
        found = (self.graph.producer.get(name) for name in self.graph.outputs)
        return tuple(
            node.input(0) if node is not None and node.op in _SQUASHING else name
            for name, node in zip(self.graph.outputs, found, strict=True)
        )

    @cached_property
    def reference(self) -> list[dict[str, Array]]:
        """FP32 probes on the held-out samples."""
        with opened(self.graph.with_(outputs=self.probes), Options(threads=self.options.threads)) as session:
            return [session.run(feed) for feed in self.held_out]

    def score(self, draft: Draft, settle: Settle | None = None) -> float:
        """SQNR in dB of the emitted draft's probes on the held-out samples, as it will be deployed.

        Args:
            settle: what is done to the draft before it is judged.
        """
        if settle is None:
            return self.memo.score("", draft, lambda: self._measured(draft))
        return self.memo.score(qualified(settle), draft, lambda: self._measured(settle(draft, self)))

    def _measured(self, draft: Draft) -> float:
        compared = Comparison()
        emitted = self.emit(draft)
        known = {*emitted.producer, *emitted.inputs}
        shown = tuple(name for name in self.probes if name in known)
        with opened(emitted.with_(outputs=shown or emitted.outputs), self.options, "V002") as session:
            for feed, wanted in zip(self.held_out, self.reference, strict=True):
                got = session.run(feed)
                compared.add({name: wanted[name] for name in got if name in wanted}, got)
        return compared.result("calibration").sqnr_db


def qualified(function: Callable[..., Any]) -> str:
    """The full name of a function."""
    return f"{function.__module__}.{function.__qualname__}"


_SQUASHING = {"Softmax", "Sigmoid"}
MOST_HELD_OUT = 64
_BYTES = 400_000_000  # of samples kept in memory


def split(feeds: Sequence[Feed]) -> tuple[list[Feed], list[Feed]]:
    """Samples to learn from and samples to judge by, alternately. A handful of samples serves as both.

    Judging needs as many as learning: a few undecided samples make most of the error, and one more or less decides.
    """
    if len(feeds) < 8:
        return list(feeds), list(feeds)
    return list(feeds[::2]), list(feeds[1::2])[:MOST_HELD_OUT]


def affordable(feeds: Iterable[Feed]) -> list[Feed]:
    """As many samples, from the first on, as memory is set aside for."""
    kept: list[Feed] = []
    used = 0
    for feed in feeds:
        used += sum(array.nbytes for array in feed.values())
        if kept and used > _BYTES:
            break
        kept.append(feed)
    return kept
