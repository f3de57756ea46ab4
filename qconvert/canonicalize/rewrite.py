"""What a rewrite rule is, and the loop that most of them share.

A rule is a pure function from a graph to a `Rewrite`. Most rules look at one node at a time and say what they would change;
`sweep` collects changes that do not touch each other, applies them at once, and repeats until nothing is left to do.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from ..errors import Diagnostic, Severity
from ..graph import Edit, Graph, Node


@dataclass(frozen=True)
class Rewrite:
    """Result of one rule.

    Attributes:
        done: one line an application, for instance "Conv `a` + BatchNormalization `b` -> Conv `a`".
        skipped: M100 notes about places that match but could not be rewritten exactly, with the reason.
    """

    graph: Graph
    done: tuple[str, ...] = ()
    skipped: tuple[Diagnostic, ...] = ()


@dataclass(frozen=True)
class Rule:
    """A row of the table of rules.

    Attributes:
        run: the rule itself.
        title: what it does, a few words.
        always: run for every model; otherwise only where a target asks for it by name.
    """

    run: Callable[[Graph], Rewrite]
    title: str
    always: bool = True


@dataclass(frozen=True)
class Change:
    """One application of a rule that has not been made yet.

    Attributes:
        touched: nodes that it replaces or reads weights of; two changes that share one are made one after the other.
        apply: makes the change.
    """

    line: str
    touched: tuple[Node, ...]
    apply: Callable[[Edit], None]


Attempt: TypeAlias = Callable[[Graph, Node], Change | Diagnostic | None]


def sweep(graph: Graph, attempt: Attempt) -> Rewrite:
    """Apply a node-by-node rule until it finds nothing more.

    Args:
        graph: the model.
        attempt: looks at one node; gives a change, a note about why it is left, or None where the pattern does not match.
    """
    done: list[str] = []
    while True:
        changes, skipped = _collect(graph, attempt)
        if not changes:
            return Rewrite(graph, tuple(done), skipped)
        edit = Edit(graph)
        for change in changes:
            change.apply(edit)
            done.append(change.line)
        graph = edit.graph()


def _collect(graph: Graph, attempt: Attempt) -> tuple[list[Change], tuple[Diagnostic, ...]]:
    changes: list[Change] = []
    skipped: list[Diagnostic] = []
    taken: set[int] = set()
    for node in graph.nodes:
        found = attempt(graph, node) if id(node) not in taken else None
        if isinstance(found, Diagnostic):
            skipped.append(found)
        elif found and not any(id(n) in taken for n in found.touched):
            changes.append(found)
            taken.update(id(n) for n in found.touched)
    return changes, tuple(skipped)


def label(node: Node) -> str:
    """How a node is called in messages."""
    return f"{node.op} `{node.name}`"


def left(node: Node, reason: str) -> Diagnostic:
    """The note that a node is left as it is."""
    return Diagnostic("M100", f"{node.op} is left as it is: {reason}", node.name, severity=Severity.NOTE)
