"""Moves as rules of a recipe."""

from __future__ import annotations

from collections.abc import Sequence

from ..optimize.sensitivity import MOVES, Move
from ..recipe.types import Match, Recipe, Rule


def rules_for(moves: Sequence[Move]) -> tuple[Rule, ...]:
    """Rules that make the moves: one for all nodes or tensors of a kind, one a range method."""
    rules: list[Rule] = []
    for kind, row in MOVES.items():
        last = {name: move for move in moves if move.kind == kind for name in move.names}
        for method in sorted({move.method for move in last.values()}):
            made = {name: move for name, move in last.items() if move.method == method}
            names = tuple(map(literal, made))
            match = Match(name=names) if row.of == "nodes" else Match(tensor=names)
            rules.append(Rule(match=match, set=next(iter(made.values())).change))
    return tuple(rules)


def with_moves(recipe: Recipe, moves: Sequence[Move]) -> Recipe:
    """The recipe with the moves' rules behind its own."""
    return recipe.model_copy(update={"rules": (*recipe.rules, *rules_for(moves))}) if moves else recipe


def literal(name: str) -> str:
    """A pattern that fits this name and no other."""
    if name.startswith("re:"):
        return "[r]" + literal(name[1:])
    return "".join(f"[{c}]" if c in "*?[" else c for c in name)
