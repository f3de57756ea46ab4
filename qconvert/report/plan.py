"""The plan for a terminal: grouped, node by node, or one node with everything that led to its fate."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from ..canonicalize import Applied
from ..errors import CODES, fail
from .record import NodeInfo, PlanInfo
from .terminal import plan_table


def plan_text(info: PlanInfo, rewrites: Sequence[Applied]) -> RenderableType:
    """The plan by groups, with the rewrites that come before it."""
    head = Text(f"{info.target}, {info.format}", style="bold")
    lines = [
        Text(f"{applied.rule}: {len(applied.lines)} times, first {applied.lines[0]}")
        for applied in rewrites
        if applied.lines
    ]
    source = [Text(f"times are predicted, not measured: {info.cost_source}")] if info.cost_source else []
    return Group(head, *lines, plan_table(info), *source)


def node_table(info: PlanInfo) -> Table:
    """Every node of the plan."""
    table = Table("node", "operator", "becomes", "MACs", "float us", "us", "why")
    for node in info.nodes:
        times = ["" if t is None else f"{t:.1f}" for t in (node.float_us, node.us)]
        table.add_row(
            escape(node.name), node.op, node.kind, f"{node.macs:,}" if node.macs else "", *times, escape(_reason(node))
        )
    return table


def named_nodes(info: PlanInfo, name: str) -> tuple[NodeInfo, ...]:
    """The node of this name, or else all whose names contain it.

    Raises:
        QConvertError: R011 where there is none.
    """
    exact = tuple(n for n in info.nodes if n.name == name)
    found = exact or tuple(n for n in info.nodes if name in n.name)
    if not found:
        near = get_close_matches(name, [n.name for n in info.nodes], 3, 0.3)
        raise fail(
            "R011",
            f"no node is called `{name}`",
            None,
            f"did you mean {', '.join(f'`{n}`' for n in near)}?" if near else "`qconvert plan --all` lists them",
        )
    return found


def why_text(info: PlanInfo, name: str) -> RenderableType:
    """Why one node, or each whose name contains `name`, is what it is.

    Raises:
        QConvertError: see `named_nodes`.
    """
    return Group(*(_explained(node) for node in named_nodes(info, name)))


def _explained(node: NodeInfo) -> Text:
    text = Text(f"{node.name} ({node.op}): ").append(node.kind, style="bold")
    if node.reason:
        text.append(f"\n  {node.reason} [{node.reason_code}]\n  {CODES[node.reason_code].explanation}")
    if node.float_us is not None and node.us is not None:
        text.append(f"\n  predicted {node.float_us:.1f} us in float, {node.us:.1f} us as planned")
    if node.macs:
        text.append(f"\n  {node.macs:,} multiply-accumulates")
    return text


def _reason(node: NodeInfo) -> str:
    return f"{node.reason} [{node.reason_code}]" if node.reason else ""
