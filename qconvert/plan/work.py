"""What every step of the planning reads, as one value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..graph import Graph, Node
from ..lift import Span
from ..ops import Shapes, Tie, spec
from ..recipe.types import Change, Recipe
from ..targets.model import Target
from .candidates import Candidate
from .cost import Estimate
from .model import Kind, NodePlan

NO_RULE = Change()


@dataclass(frozen=True, eq=False)
class Work:
    """The question: a graph, a target, a recipe; and what each node could become at which price."""

    graph: Graph
    target: Target
    recipe: Recipe
    node_rules: Mapping[str, Change]
    tensor_rules: Mapping[str, Change]
    shapes: Shapes
    found: Mapping[str, Candidate]
    estimates: Mapping[str, Estimate]
    spans: Mapping[str, Span]

    def keeps_scale(self, node: Node) -> bool:
        """Whether the node's kernel has no scale of its own for its output."""
        row = spec(node)
        return row is not None and (row.tie is Tie.SAME or node.op in self.target.kernels.same_scale)

    def writes_alone(self, node: Node) -> bool:
        """Whether an integer form of the node must write integers, whoever reads them."""
        kernel, readers = self.found[node.name].kernel, self.graph.consumers_of(node.output)
        paired = len(readers) == 1 and (node.op, readers[0].op) in self.target.placement.float_pairs
        return kernel is not None and (kernel.output == "integer" or (kernel.output == "free" and paired))

    def host_of(self, node: Node) -> str:
        """Name of the unit that the node belongs to in the cut: itself, or the host of an absorbed clamp."""
        return self.found[node.name].host or node.name


def reads(plan: NodePlan, node: Node, name: str) -> bool:
    """Whether the node reads the value as integers."""
    return any(node.input(i) == name for i in plan.reads)


def arrives_as_integers(graph: Graph, name: str, nodes: Mapping[str, NodePlan]) -> bool:
    """Whether the value is written by an integer kernel, so that even float readers see its quantized form."""
    producer = graph.producer.get(name)
    return producer is not None and (nodes[producer.name].writes or nodes[producer.name].kind is Kind.ABSORBED)
