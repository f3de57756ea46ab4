"""Changes of a recipe that take an error back: one value, and the table of their kinds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ...evaluate.model import Number, Value
from ...plan import Kind
from ...recipe.types import Change


class Move(Value):
    """One change that a search makes or an analysis proposes.

    Attributes:
        kind: key of `MOVES`; names: of the nodes or of the tensors that it is about; method: of "range".
        about: the tensor or node whose error it removes.
        us: predicted time that it costs; bytes: size that it costs.
        before_db, after_db: predicted output SQNR.
    """

    kind: Literal["dynamic", "weights", "float", "wide", "range"]
    names: tuple[str, ...]
    method: str = ""
    about: str = ""
    us: Number = 0.0
    bytes: int = 0
    before_db: Number = 0.0
    after_db: Number = 0.0

    @property
    def row(self) -> MoveKind:
        """What is particular to its kind."""
        return MOVES[self.kind]

    @property
    def change(self) -> Change:
        """What a rule of a recipe sets to make it."""
        return self.row.change or Change(method=self.method)

    @property
    def reason(self) -> str:
        """What it is for, what it gains by prediction, and what it costs."""
        before, after = ("exact" if db == float("inf") else f"{db:.1f} dB" for db in (self.before_db, self.after_db))
        cost = f"{abs(self.us):.1f} us {'less' if self.us < 0 else 'more'} a run"
        return f"against the error at `{self.about}`: predicted {before} -> {after}, {cost}"

    def __str__(self) -> str:
        names = ", ".join(self.names[:3]) + (f" and {len(self.names) - 3} more" if len(self.names) > 3 else "")
        around = f" (around `{self.about}`)" if self.about and self.about not in self.names else ""
        return f"{self.row.words.format(method=self.method)}: {names}{around}"


@dataclass(frozen=True, slots=True)
class MoveKind:
    """One kind of moves.

    Attributes:
        of: what its names are of.
        change: what a rule sets; None: the move's range method.
        words: in front of the names, where people read it.
        becomes: what its nodes become; None: they stay what they are, and compute with finer numbers.
        growth: the weights grow by what float32 would add, divided by this; 0: they do not grow.
        price: share of the least price of a move: where only bits of weights are added, nothing is converted and nothing can go
            wrong at run time.
    """

    of: Literal["nodes", "tensors"]
    change: Change | None
    words: str
    becomes: Kind | None = None
    growth: int = 0
    price: float = 1.0


MOVES: dict[str, MoveKind] = {  # in the order of their rules
    "dynamic": MoveKind("nodes", Change(mode="dynamic"), "ranges at run time", becomes=Kind.DYNAMIC),
    "weights": MoveKind("nodes", Change(weight_bits=8), "8-bit weights", growth=6, price=0.1),  # from 4 bits
    "float": MoveKind("nodes", Change(keep="float"), "float", becomes=Kind.FLOAT, growth=1),
    "wide": MoveKind("tensors", Change(bits=16), "16 bits"),
    "range": MoveKind("tensors", None, "range method {method}"),
}


def listed(moves: Sequence[Move]) -> str:
    """Moves in words, the first two of them in full."""
    first = "; ".join(map(str, moves[:2]))
    return first + (f"; {len(moves) - 2} more" if len(moves) > 2 else "")
