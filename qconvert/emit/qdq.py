"""Artefact in Q/DQ form: QuantizeLinear/DequantizeLinear pairs around integer nodes, integer weights behind DequantizeLinear."""

from __future__ import annotations

from collections.abc import Mapping

from ..calibrate import QuantParams, params_for_scale
from ..graph import Edit, Graph, Node, TensorType
from ..ops import ATTENTION, Role, clamp_bounds, inputs_with, weight_axis
from ..plan import Kind, NodePlan, Plan
from ..targets.formats import Format
from .constants import Constants, Key, bias_params, value_of
from .dynamic import dynamic_attention, dynamic_lstm, dynamic_product
from .stored import STORES, Shelf
from .weights import anchor_scale

_ANCHOR = Format("int16", symmetric=True, narrow=True, bits=16)


def emit_qdq(
    graph: Graph, plan: Plan, activations: Mapping[str, QuantParams], weights: Mapping[tuple[str, int], QuantParams]
) -> Graph:
    """Rewrite a canonical graph by its plan.

    Args:
        activations: parameters of every tensor of `plan.tensors`.
        weights: parameters of every constant input of `plan.weights`.
    """
    return QdqWriter(graph, plan, activations, weights).written()


def _packed_tables(graph: Graph, plan: Plan) -> frozenset[str]:
    """Tables of which rows are picked out of packed bytes, by the name under which they are stored."""
    names = (
        graph.by_name[node].input(index)
        for (node, index), chosen in plan.weights.items()
        if plan.nodes[node].kind is Kind.LOOKUP and chosen.form is not None and chosen.form.packed
    )
    return frozenset(plan.ties.get(name, name) for name in names)


class QdqWriter:
    """One emission: the edit under way, and the conversions made so far."""

    def __init__(
        self,
        graph: Graph,
        plan: Plan,
        activations: Mapping[str, QuantParams],
        weights: Mapping[tuple[str, int], QuantParams],
    ) -> None:
        self.graph, self.plan, self.activations, self.weights = graph, plan, activations, weights
        self.edit = Edit(graph)
        axes = {graph.by_name[node].input(index): chosen.axis for (node, index), chosen in plan.weights.items()}
        self.constants = Constants(self.edit, graph, plan.ties, axes)
        self._shelf = Shelf(self.edit, graph, self.constants, {}, _packed_tables(graph, plan))
        self._codes: dict[str, str] = {}  # activation -> its integer form
        self._read: dict[str, str] = {}  # float activation -> its dequantized form
        self._dequantized_constants: dict[tuple[str, int | None, Key], str] = {}
        self._shared: dict[str, tuple[str, ...]] = {}  # activation -> outputs of its DynamicQuantizeLinear

    def written(self) -> Graph:
        """The graph with every node in its final form."""
        for node in self.graph.nodes:
            self._place(node)
        written = self.edit.graph()
        domains = {node.domain for node in written.nodes} - written.opsets.keys()
        return written.with_(opsets={**written.opsets, **dict.fromkeys(sorted(domains), 1)}) if domains else written

    def _place(self, node: Node) -> None:
        chosen = self.plan.nodes[node.name]
        match chosen.kind:
            case Kind.DYNAMIC if node.op == "LSTM":
                both = (self.weights[node.name, 1], self.weights[node.name, 2])
                self.edit.replace(node, dynamic_lstm(self.constants, self.graph, node, both))
            case Kind.DYNAMIC:
                write = dynamic_attention if node.key == ATTENTION else dynamic_product
                params = self.weights[node.name, 1]
                self.edit.replace(node, *write(self.edit, self.constants, node, params, self._shared))
            case Kind.LOOKUP | Kind.WEIGHT_ONLY:
                self.edit.replace(node, *self._stored(node))
            case Kind.INTEGER:
                self.place_integer(node, chosen)
            case Kind.FLOAT if node.name in self.plan.anchors:
                self.edit.replace(node, self._anchored(node))
            case _:
                pass  # float nodes stay; an absorbed clamp goes together with its host

    def _stored(self, node: Node) -> list[Node]:
        """A float node with its weights in their stored forms."""
        nodes = [node]
        for index in range(len(node.inputs)):
            chosen = self.plan.weights.get((node.name, index))
            if chosen is not None and chosen.form is not None:
                params = self.weights[node.name, index]
                nodes = [*nodes[:-1], *STORES[chosen.form.store](self._shelf, nodes[-1], index, params)]
        return nodes

    # --- integer nodes -------------------------------------------------------------------------------------------------

    def place_integer(self, node: Node, chosen: NodePlan) -> None:
        """Put a node with static ranges between Q/DQ pairs."""
        now = node.with_(inputs=self._float_inputs(node, chosen))
        if not chosen.writes:
            self.edit.replace(node, now)
            return
        clamp = self.clamp_of(node)
        last, outputs = now, clamp.outputs if clamp is not None else node.outputs
        if clamp is not None:
            self.edit.replace(clamp)
            last = now if self.vanishes(clamp) else clamp
        raw = tuple(self.edit.fresh(f"{name}/raw") if name else "" for name in outputs)
        steps: list[Node] = []
        for source, name in zip(raw, outputs, strict=True):
            if name:
                self.edit.set_type(source, self.graph.type_of(name))
                steps += [self.quantize(source, name), self.dequantize(name, name)]
        self.edit.replace(node, *([now] if last is clamp else []), last.with_(outputs=raw), *steps)

    def _float_inputs(self, node: Node, chosen: NodePlan) -> tuple[str, ...]:
        """Inputs of the node as real values that have been through their codes."""
        inputs = list(node.inputs)
        for i in chosen.reads:
            if not self.written_as_integers(node.inputs[i]):
                inputs[i] = self._dequantized(node.inputs[i])
        for i, name in enumerate(node.inputs):
            if (node.name, i) in self.weights:
                inputs[i] = self._constant(name, self.weights[node.name, i])
        for i in inputs_with(node, Role.BIAS):
            params = self.bias_params(node, i) if self.plan.bias == "int32" else None
            if params is not None:
                codes = self.constants.bias(node.inputs[i], params)
                inputs[i] = self._dequantized_codes(codes, node.inputs[i], params)
        return tuple(inputs)

    def written_as_integers(self, name: str) -> bool:
        """Whether the producer of a value writes it as integers."""
        producer = self.graph.producer.get(name)
        if producer is None:
            return False
        chosen = self.plan.nodes[producer.name]
        return chosen.writes or chosen.kind is Kind.ABSORBED

    def clamp_of(self, node: Node) -> Node | None:
        """The clamp that vanishes into the node's output range."""
        return next(
            (n for n in self.graph.consumers_of(node.output) if self.plan.nodes[n.name].host == node.name), None
        )

    def vanishes(self, clamp: Node) -> bool:
        """Whether the codes saturate where the clamp does; symmetric codes or a shared scale may reach further."""
        params, bounds = self.activations[clamp.output], clamp_bounds(clamp, self.graph)
        slack = 0.51 * float(params.scale)  # the zero point is rounded to a whole step
        return bounds is not None and bool(params.low >= bounds[0] - slack and params.high <= bounds[1] + slack)

    def bias_params(self, node: Node, index: int) -> QuantParams | None:
        """Parameters of a node's int32 bias, None where the bias must stay float."""
        bias, weight = self.graph.weights.get(node.inputs[index]), self.weights.get((node.name, 1))
        reading = self.activations.get(node.input(0))
        return None if bias is None or weight is None or reading is None else bias_params(bias, reading, weight)

    # --- conversions ---------------------------------------------------------------------------------------------------

    def codes_name(self, name: str) -> str:
        """The name for the integer form of an activation, which the caller is about to produce."""
        params, codes = self.activations[name], self.edit.fresh(f"{name}/q")
        self.edit.set_type(codes, TensorType(params.format.dtype, self.graph.type_of(name).shape))
        self._codes[name] = codes
        return codes

    def codes_of(self, name: str) -> str:
        """The integer form of an activation; one that nobody has written as integers is quantized once."""
        if name not in self._codes:
            self.edit.add(self.quantize(name, name))
        return self._codes[name]

    def quantize(self, source: str, name: str) -> Node:
        """QuantizeLinear from a float value to the integer form of an activation."""
        inputs = (source, *self.constants.scale(self.activations[name], name))
        return Node(
            "QuantizeLinear", inputs, (self.codes_name(name),), name=self.edit.fresh_node(f"{name}/QuantizeLinear")
        )

    def dequantize(self, name: str, result: str) -> Node:
        """DequantizeLinear from the integer form of an activation."""
        self.edit.set_type(result, TensorType("float32", self.graph.type_of(name).shape))
        inputs = (self.codes_of(name), *self.constants.scale(self.activations[name], name))
        return Node("DequantizeLinear", inputs, (result,), name=self.edit.fresh_node(f"{name}/DequantizeLinear"))

    def _dequantized(self, name: str) -> str:
        """The quantized and dequantized form of a float value, made once."""
        if name not in self._read:
            self._read[name] = self.edit.fresh(f"{name}/dq")
            self.edit.add(self.dequantize(name, self._read[name]))
        return self._read[name]

    # --- constants -----------------------------------------------------------------------------------------------------

    def _constant(self, name: str, params: QuantParams) -> str:
        """A weight behind DequantizeLinear, made once for equal parameters."""
        key = (name, params.axis, value_of(params))
        if key not in self._dequantized_constants:
            self._dequantized_constants[key] = self._dequantized_codes(
                self.constants.operand(name, params), name, params
            )
        return self._dequantized_constants[key]

    def _dequantized_codes(self, codes: str, name: str, params: QuantParams) -> str:
        inputs = (codes, *self.constants.scale(params, name))
        result = self.edit.fresh(f"{name}/dq")
        attributes = {} if params.axis is None else {"axis": params.axis}
        self.edit.add(
            Node("DequantizeLinear", inputs, (result,), attributes, self.edit.fresh_node(f"{name}/DequantizeLinear"))
        )
        return result

    def _anchored(self, node: Node) -> Node:
        """A float node with its weight carried in 16 bits, which the runtime does not quantize any further at load."""
        name = node.input(1)
        weight = self.graph.weights[name]
        axis = weight_axis(node, len(weight.shape))
        params = params_for_scale(_ANCHOR, anchor_scale(weight.numpy(), axis), axis)
        return node.with_(inputs=(node.inputs[0], self._constant(name, params), *node.inputs[2:]))
