"""Channel groups: tensors whose channels can be scaled together without changing what the model computes.

A group grows from the input of a quantized layer, through operators that let a positive factor a channel pass, until every
way ends at a constant that can take the factor up: output channels of weights, normalization gains, input channels of the
next weights. One way that ends elsewhere makes the group impossible (Nagel et al. 2019, section 4.1; Xiao et al. 2022).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from ..graph import Array, Dim, Graph, Node
from ..ops import NO_OPS, VIEWS, clamp_bounds
from ..plan import Kind, Plan
from .equalize_channels import Channels, operand, reshaped, result_of
from .equalize_constants import GIVERS, TAKERS


class BlockedError(Exception):
    """The group touches something that a factor cannot pass."""


@dataclass(frozen=True, eq=False)
class Stake:
    """A constant input that changes with the group: it is multiplied by scale[ids] ** power.

    Attributes:
        ids: channel of every element; broadcasts against the constant.
        power: 1 where the layer reads the group, -1 where it writes it.
    """

    node: str
    input: int
    ids: Array
    power: int


@dataclass(frozen=True, eq=False)
class Group:
    """Tensors that are divided by one scale a channel.

    Attributes:
        count: number of channels.
        members: tensor to the channel of its elements.
        readers: layers with integer weights that read a member.
        undone: the member whose float readers get it multiplied back, and those readers; "" and none where all can take part.
    """

    count: int
    members: Mapping[str, Array]
    stakes: tuple[Stake, ...]
    readers: tuple[str, ...]
    undone: tuple[str, tuple[str, ...]] = ("", ())


def find_groups(graph: Graph, plan: Plan, macs_an_element: float | None) -> tuple[Group, ...]:
    """All groups with a quantized reader, in graph order.

    Args:
        macs_an_element: where float readers stand in the way, multiply them back if the group's layers do at least this many
            multiply-accumulates an element; None: never.
    """
    found: list[Group] = []
    seen: set[str] = set()
    for node in graph.nodes:
        if _quantized(graph, plan, node) and node.input(0) not in seen:
            group = _search(graph, plan, node.input(0), macs_an_element)
            seen.update(group.members if group is not None else (node.input(0),))
            found += [group] if group is not None else []
    return tuple(found)


def _quantized(graph: Graph, plan: Plan, node: Node) -> bool:
    kinds = (Kind.INTEGER, Kind.DYNAMIC, Kind.WEIGHT_ONLY)
    return plan.nodes[node.name].kind in kinds and node.op in TAKERS and node.input(1) in graph.weights


_ATTEMPTS = 8


def _search(graph: Graph, plan: Plan, seed: str, macs_an_element: float | None) -> Group | None:
    """The group of a tensor; each product of two activations may carry the factor on either side, so both are tried."""
    for undo in (False, True) if macs_an_element is not None else (False,):
        script: tuple[int, ...] | None = ()
        for _ in range(_ATTEMPTS):
            growth = _Growth(graph, plan, seed, script or (), undo)
            try:
                group = growth.group()
            except BlockedError:
                script = _next(growth.decided)
                if script is None:
                    break
            else:
                return group if _pays(graph, plan, group, macs_an_element) else None
    return None


def _next(decided: Sequence[int]) -> tuple[int, ...] | None:
    """The next sequence of decisions, None after the last."""
    last = max((i for i, choice in enumerate(decided) if choice == 0), default=None)
    return None if last is None else (*decided[:last], 1)


def _pays(graph: Graph, plan: Plan, group: Group, macs_an_element: float | None) -> bool:
    if group.count < 2 or not group.readers:
        return False
    name = group.undone[0]
    if not name:
        return True
    layers = [plan.nodes[reader].macs for reader in group.readers if graph.by_name[reader].input(0) == name]
    return sum(layers) >= (macs_an_element or 0.0) * prod(plan.shapes[name])


_SAME = NO_OPS | {"Relu", "LeakyRelu", "Abs", "Neg"}  # f(x / s) = f(x) / s
_POOLS = {"MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool"}
_JOINT = {"Add", "Sub", "Sum", "Max", "Min"}  # homogeneous in all operands together
_PRODUCTS = {"Mul", "MatMul"}  # linear in each operand alone
_BLIND = {"Shape", "Size"}  # do not look at values


class _Growth:
    """One attempt to grow a group."""

    def __init__(self, graph: Graph, plan: Plan, seed: str, script: tuple[int, ...], undo: bool) -> None:
        self.graph, self.plan, self.seed, self.undo = graph, plan, seed, undo
        self.channels = Channels()
        self.decided: list[int] = []
        self._script = script
        self._members: dict[str, Array] = {}
        self._stakes: dict[tuple[str, int, int], Array] = {}
        self._carriers: dict[str, int] = {}  # product of two activations -> the operand that carries the factor
        self._undone: list[str] = []
        self._frontier: list[str] = []

    def group(self) -> Group:
        """The group around the seed.

        Raises:
            BlockedError: there is none with these decisions.
        """
        shape = self._shape(self.seed)
        seeded = self._seed_axis(len(shape))
        self._join(
            self.seed, self.channels.new(shape[seeded]).reshape([-1 if a == seeded else 1 for a in range(len(shape))])
        )
        while self._frontier:
            name = self._frontier.pop()
            self._upstream(name)
            self._downstream(name)
        self._check_products()
        return self._result()

    def _seed_axis(self, rank: int) -> int:
        reader = next(node for node in self.graph.consumers_of(self.seed) if _quantized(self.graph, self.plan, node))
        return 1 if reader.op in ("Conv", "ConvTranspose") else rank - 1

    def _result(self) -> Group:
        numbers = self.channels.numbers()
        stakes = tuple(Stake(node, i, numbers[ids], power) for (node, i, power), ids in self._stakes.items())
        taking = (self.graph.by_name[s.node] for s in stakes if s.power == 1)
        readers = tuple(node.name for node in taking if _quantized(self.graph, self.plan, node))
        members = {name: numbers[ids] for name, ids in self._members.items()}
        undone = (self.seed, tuple(self._undone)) if self._undone else ("", ())
        return Group(int(numbers.max()) + 1, members, stakes, readers, undone)

    # --- membership ----------------------------------------------------------------------------------------------------

    def _shape(self, name: str) -> tuple[int, ...]:
        shape = self.graph.weight_shape(name) if name in self.graph.weights else self.plan.shapes.get(name)
        if not shape or 0 in shape:
            raise BlockedError(f"`{name}` has no usable shape")
        return shape

    def _join(self, name: str, ids: Array) -> None:
        """Make a tensor a member, or tie its channels if it is one."""
        if name in self._members:
            self.channels.tie(self._members[name], ids)
            return
        graph = self.graph
        if name in graph.outputs or name in graph.feeds or graph.type_of(name).dtype not in ("float32", None):
            raise BlockedError(f"`{name}` is an input, an output or no float32")
        if not _on_fixed_axes(ids, graph.type_of(name).shape):
            raise BlockedError(f"the channels of `{name}` lie along an axis of variable size")
        self._members[name] = ids
        self._frontier.append(name)

    def _stake(self, node: Node, index: int, ids: Array, power: int) -> None:
        if self.graph.constant(node.input(index)) is None:
            raise BlockedError(f"input {index} of {node.name} is no constant")
        name, ties = node.input(index), self.plan.ties
        if name in ties or name in ties.values():
            raise BlockedError(f"`{name}` is stored once for several layers")
        known = self._stakes.setdefault((node.name, index, power), ids)
        if known is not ids:
            self.channels.tie(known, ids)

    def _operand(self, node: Node, index: int, ids: Array) -> None:
        """Let an operand of an elementwise operator have the channels of its result."""
        name = node.input(index)
        if name in self.graph.weights:
            self._stake(node, index, operand(ids, len(self.graph.weight_shape(name))), -1)
            return
        shape = self._shape(name)
        own = operand(ids, len(shape))
        if own.ndim != len(shape):
            raise BlockedError(f"`{name}` is broadcast along its channels")
        self._join(name, self.channels.folded(own, [axis for axis, size in enumerate(shape) if size > 1]))

    # --- towards the producers ------------------------------------------------------------------------------------------

    def _upstream(self, name: str) -> None:
        node, ids = self.graph.producer[name], self._members[name]
        if name != node.output or node.bodies or node.domain:
            raise BlockedError(f"{node.op} has no plain output `{name}`")
        if node.op in GIVERS and node.input(1) in self.graph.weights:
            self._give(node, ids)
        elif node.op in _PRODUCTS:
            self._operand_of_product(node, ids)
        elif node.op in _JOINT:
            for index in range(len(node.inputs)):
                self._operand(node, index, ids)
        else:
            self._join(node.input(0), self._through(node, ids, forward=False))

    def _give(self, node: Node, ids: Array) -> None:
        """End at constants that are divided by the scale."""
        for index, own in self._constants(GIVERS[node.op](node, self.graph, self.channels, ids)):
            self._stake(node, index, own, -1)

    def _constants(self, found: Mapping[int, Array] | None) -> Iterator[tuple[int, Array]]:
        if found is None:
            raise BlockedError("its constants have no channel that could take the factor")
        yield from found.items()

    def _operand_of_product(self, node: Node, ids: Array) -> None:
        """Let the factor of a product come from one operand."""
        scaling = self._scaling(node)
        if scaling is not None:
            self._stake(node, scaling, operand(ids, len(self.graph.weight_shape(node.input(scaling)))), -1)
            return
        index = self._carriers.get(node.name)
        if index is None:
            index = self._carriers[node.name] = self._decide(node, ids)
        self._operand(node, index, self._product_operand(node, index, ids))

    def _scaling(self, node: Node) -> int | None:
        """Input of a Mul that is a constant with several elements: it can take the factor."""
        sizes = {
            i: prod(self.graph.weight_shape(name)) for i, name in enumerate(node.inputs) if name in self.graph.weights
        }
        return next((i for i, size in sizes.items() if node.op == "Mul" and size > 1), None)

    def _decide(self, node: Node, ids: Array) -> int:
        """The operand of a product that carries the factor of the result."""
        if node.op == "MatMul":
            return 0 if ids.ndim > 1 and ids.shape[-2] > 1 else 1
        free = [i for i, name in enumerate(node.inputs) if name not in self.graph.weights]
        if len(free) == 1:
            return free[0]
        choice = self._script[len(self.decided)] if len(self.decided) < len(self._script) else 0
        self.decided.append(choice)
        return choice

    def _product_operand(self, node: Node, index: int, ids: Array) -> Array:
        """Channels of a product's result without those along axes that the operand is summed over."""
        if node.op == "Mul":
            return ids
        summed = ids.ndim - 1 if index == 0 else ids.ndim - 2
        return self.channels.folded(ids, [axis for axis in range(ids.ndim) if axis != summed])

    # --- towards the readers --------------------------------------------------------------------------------------------

    def _downstream(self, name: str) -> None:
        ids = self._members[name]
        for node in self.graph.consumers_of(name):
            ports = [i for i, value in enumerate(node.inputs) if value == name]
            if node.op in _BLIND:
                continue
            if ports == [0] and node.op in TAKERS and node.input(1) in self.graph.weights and not node.domain:
                for index, own in self._constants(TAKERS[node.op](node, self.graph, self.channels, ids)):
                    self._stake(node, index, own, 1)
            elif self.undo and name == self.seed:
                self._leave_out(node)
            else:
                self._pass(node, ports, ids)

    def _leave_out(self, node: Node) -> None:
        if not self.plan.nodes[node.name].kind.floating or node.bodies:
            raise BlockedError(f"{node.name} reads integers")
        self._undone.append(node.name)

    def _pass(self, node: Node, ports: list[int], ids: Array) -> None:
        if not ports or node.bodies or node.domain:
            raise BlockedError(f"{node.op} has a body or is unknown")
        rank = len(self._shape(node.output))
        if node.op in _PRODUCTS:
            self._pass_product(node, ports, ids, rank)
        elif node.op in _JOINT:
            self._join(node.output, result_of(ids, rank))
        elif ports == [0]:
            self._join(node.output, self._through(node, ids, forward=True))
        else:
            raise BlockedError(f"{node.op} reads `{node.inputs[ports[0]]}` as a parameter")

    def _pass_product(self, node: Node, ports: list[int], ids: Array, rank: int) -> None:
        scaling = self._scaling(node)
        if scaling is not None:
            self._stake(
                node, scaling, operand(result_of(ids, rank), len(self.graph.weight_shape(node.input(scaling)))), 1
            )
            return
        if len(ports) > 1 or self._carriers.setdefault(node.name, ports[0]) != ports[0]:
            raise BlockedError(f"{node.name} multiplies the group with itself")
        if node.op == "MatMul" and len(self._shape(node.input(1 - ports[0]))) < 2:
            raise BlockedError(f"{node.name} multiplies with a vector")
        self._join(node.output, result_of(self._product_operand(node, ports[0], ids), rank))

    def _check_products(self) -> None:
        for name, index in self._carriers.items():
            if self.graph.by_name[name].input(1 - index) in self._members:
                raise BlockedError(f"{name} multiplies the group with itself")

    # --- operators with one data input ----------------------------------------------------------------------------------

    def _through(self, node: Node, ids: Array, forward: bool) -> Array:
        """Channels on the other side of an operator."""
        if node.op in _SAME or (node.op == "Clip" and clamp_bounds(node, self.graph) in _HOMOGENEOUS):
            return ids
        if node.op in _POOLS:
            return self.channels.folded(ids, (0, 1))
        if node.op == "Transpose":
            perm = node.attr("perm", tuple(range(ids.ndim))[::-1])
            return np.transpose(ids, perm if forward else np.argsort(perm))
        if node.op in VIEWS:
            shapes = self._shape(node.input(0)), self._shape(node.output)
            return reshaped(ids, *(shapes if forward else shapes[::-1]))
        raise BlockedError(f"{node.op} does not let a factor pass")


def _on_fixed_axes(ids: Array, dims: tuple[Dim, ...] | None) -> bool:
    """Whether channels lie along axes of fixed size; believed where nothing at all is known of the shape."""
    if dims is None or all(dim is None for dim in dims):
        return True
    return len(dims) == ids.ndim and all(
        size == 1 or isinstance(dim, int) for size, dim in zip(ids.shape, dims, strict=True)
    )


_INFINITE = float("inf")
_HOMOGENEOUS = {(0.0, _INFINITE), (-_INFINITE, _INFINITE)}
