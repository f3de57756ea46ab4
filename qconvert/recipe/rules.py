"""Which nodes and tensors of a model the rules of a recipe speak of."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cached_property
from typing import TYPE_CHECKING

from ..errors import Diagnostic, QConvertError
from .hints import nearest
from .tree import Path, SourceMap, dotted
from .types import Change, Match, Rule

if TYPE_CHECKING:
    from ..graph import Graph, Node

Patterns = str | tuple[str, ...]
FEW = 12  # that many names are listed where none is near


@dataclass(frozen=True)
class Resolved:
    """What the rules change in one model; names without a change are left out."""

    nodes: Mapping[str, Change] = field(default_factory=dict)
    tensors: Mapping[str, Change] = field(default_factory=dict)


def resolve_rules(rules: Sequence[Rule], graph: Graph, source: SourceMap | None = None) -> Resolved:
    """Apply rules in order; of two that set the same thing, the later one wins.

    A rule with `op`, `name` or `between` speaks of nodes, one with only `tensor` of tensors (weights included), and one with
    both of the tensors that those nodes produce.

    Args:
        rules: rules of the recipe.
        graph: the model, canonicalized.
        source: where the rules were written, for the messages.

    Raises:
        QConvertError: R007 for every rule that matches nothing.
    """
    finder = _Finder(graph)
    nodes: dict[str, Change] = {}
    tensors: dict[str, Change] = {}
    mistakes: list[Diagnostic] = []
    for i, rule in enumerate(rules):
        found = finder.matched(rule.match)
        into = nodes if rule.match.tensor is None else tensors
        into.update({name: _merged(into.get(name), rule.set) for name in found})
        if not found:
            mistakes.append(finder.nothing(rule.match, ("rules", i), source))
    if mistakes:
        raise QConvertError(mistakes)
    return Resolved(nodes, tensors)


def matches(patterns: Patterns, name: str) -> bool:
    """Whether a name is one of the given ones, fits a glob, or fits a `re:` expression as a whole."""
    return any(_fits(p, name) for p in ((patterns,) if isinstance(patterns, str) else patterns))


def _fits(pattern: str, name: str) -> bool:
    if pattern == name:
        return True
    return re.fullmatch(pattern[3:], name) is not None if pattern.startswith("re:") else fnmatchcase(name, pattern)


def _merged(before: Change | None, after: Change) -> Change:
    return after if before is None else before.model_copy(update=after.model_dump(exclude_none=True))


@dataclass(frozen=True)
class _Finder:
    graph: Graph

    @cached_property
    def tensors(self) -> tuple[str, ...]:
        """Every name that a `tensor` condition can mean."""
        return tuple(dict.fromkeys([*self.graph.values(), *self.graph.weights]))

    def matched(self, match: Match) -> list[str]:
        """Names of the nodes, or of the tensors if the rule has a `tensor` condition."""
        if match.tensor is None:
            return [node.name for node in self.nodes(match)]
        of_nodes = match.op is not None or match.name is not None or match.between is not None
        names = [out for node in self.nodes(match) for out in node.outputs if out] if of_nodes else self.tensors
        return [name for name in names if matches(match.tensor, name)]

    def nodes(self, match: Match) -> list[Node]:
        region = None if match.between is None else self.region(*match.between)
        return [
            node
            for node in self.graph.nodes
            if (match.op is None or matches(match.op, node.op))
            and (match.name is None or matches(match.name, node.name))
            and (region is None or node.name in region)
        ]

    def region(self, first: str, last: str) -> set[str]:
        """Names of the nodes on any path between two nodes or tensors."""
        before, after = self._ends(first)[1], self._ends(last)[0]
        down = _reached(
            before, lambda node: [user for out in node.outputs if out for user in self.graph.consumers_of(out)]
        )
        up = _reached(
            after, lambda node: [self.graph.producer[name] for name in node.reads if name in self.graph.producer]
        )
        return down & up

    def _ends(self, name: str) -> tuple[Iterable[Node], Iterable[Node]]:
        """Where a region that ends at this name is entered from below, and one that begins here from above."""
        node = self.graph.by_name.get(name)
        if node is not None:
            return (node,), (node,)
        producer = self.graph.producer.get(name)
        return ((producer,) if producer else ()), self.graph.consumers_of(name)

    def nothing(self, match: Match, path: Path, source: SourceMap | None) -> Diagnostic:
        """The mistake of a rule without effect, with the condition that is to blame as far as one alone is."""
        for key, message, hint in self._blamed(match):
            at: Path = (*path, "match", key)
            return Diagnostic("R007", message, source.where(at) if source else dotted(at), hint)
        given = " and ".join(f"`{key}`" for key, value in match if value is not None)
        where = source.where((*path, "match")) if source else dotted(path)
        return Diagnostic(
            "R007",
            f"the rule matches nothing: no node or tensor fits {given} together",
            where,
            "each condition alone does match; give them in rules of their own",
        )

    def _blamed(self, match: Match) -> Iterable[tuple[str, str, str | None]]:
        """Conditions that nothing in the model fits: key, message, hint."""
        known: dict[str, tuple[str, list[str]]] = {
            "op": ("operator type", sorted({n.op for n in self.graph.nodes})),
            "name": ("node", [n.name for n in self.graph.nodes]),
            "tensor": ("tensor", list(self.tensors)),
        }
        for key, (noun, names) in known.items():
            patterns: Patterns | None = getattr(match, key)
            if patterns is not None and not any(matches(patterns, name) for name in names):
                yield key, f"no {noun} of the model fits: {_shown(patterns)}", _near(patterns, names, noun)
        if match.between:
            yield from self._blamed_ends(*match.between)

    def _blamed_ends(self, first: str, last: str) -> Iterable[tuple[str, str, str | None]]:
        names = list(dict.fromkeys([*self.graph.by_name, *self.graph.values()]))
        unknown = [end for end in (first, last) if end not in names]
        for end in unknown:
            yield "between", f"no node or tensor of the model has this name: {end}", _near(end, names, "name")
        if not unknown and not self.region(first, last):
            hint = "the other way round there is one; swap the two" if self.region(last, first) else None
            yield "between", f"no path leads from `{first}` to `{last}`", hint


def _reached(start: Iterable[Node], step: Callable[[Node], Iterable[Node]]) -> set[str]:
    """Names of the start and of everything that steps lead to from it."""
    todo = list(start)
    seen = {node.name for node in todo}
    while todo:
        new = [node for node in step(todo.pop()) if node.name not in seen]
        seen.update(node.name for node in new)
        todo.extend(new)
    return seen


def _shown(patterns: Patterns) -> str:
    return patterns if isinstance(patterns, str) else ", ".join(patterns)


def _near(patterns: Patterns, names: Sequence[str], noun: str) -> str | None:
    """The names most like the given ones; where none is like them, those that contain a part, or all if they are few."""
    words = [re.sub(r"^re:|[*?\[\]()|^$\\]+", "", p) for p in ((patterns,) if isinstance(patterns, str) else patterns)]
    close = [name for word in words for name in nearest(word, names, 3)]
    close = close or [name for word in words for name in names if word and word.lower() in name.lower()]
    found = list(dict.fromkeys(close))[:3]
    if found:
        return "nearest: " + ", ".join(f"`{name}`" for name in found)
    plural = f"{noun}s"
    return (
        f"{plural} of the model: {', '.join(names)}"
        if 0 < len(names) <= FEW
        else f"`qconvert inspect MODEL` lists the {plural}"
    )
