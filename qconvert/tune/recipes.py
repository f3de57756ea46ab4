"""Moves as rules of a recipe."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ..optimize.sensitivity import Move
from ..recipe.types import Change, Match, Recipe, Rule

_OF_NODES = (("dynamic", Change(mode="dynamic")), ("weights", Change(weight_bits=8)), ("float", Change(keep="float")))


def rules_for(moves: Sequence[Move]) -> tuple[Rule, ...]:
    """Rules that make the moves: one for all nodes or tensors of a kind, one a range method."""
    rules: list[Rule] = []
    for kind, change in _OF_NODES:
        names = _unique(name for move in moves if move.kind == kind for name in move.names)
        if names:
            rules.append(Rule(match=Match(name=names), set=change))
    wide = _unique(name for move in moves if move.kind == "wide" for name in move.names)
    if wide:
        rules.append(Rule(match=Match(tensor=wide), set=Change(bits=16)))
    methods = {move.names[0]: move.method for move in moves if move.kind == "range"}
    for method in sorted(set(methods.values())):
        tensors = _unique(name for name, chosen in methods.items() if chosen == method)
        rules.append(Rule(match=Match(tensor=tensors), set=Change(method=method)))
    return tuple(rules)


def with_moves(recipe: Recipe, moves: Sequence[Move]) -> Recipe:
    """The recipe with the moves' rules behind its own."""
    return recipe.model_copy(update={"rules": (*recipe.rules, *rules_for(moves))}) if moves else recipe


def _unique(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(literal(name) for name in dict.fromkeys(names))


def literal(name: str) -> str:
    """A pattern that fits this name and no other."""
    if name.startswith("re:"):
        return "[r]" + literal(name[1:])
    return "".join(f"[{c}]" if c in "*?[" else c for c in name)
