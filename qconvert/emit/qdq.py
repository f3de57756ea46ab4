"""Artefact in Q/DQ form: QuantizeLinear/DequantizeLinear pairs around integer nodes, integer weights behind DequantizeLinear."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..calibrate import QuantParams, params_for_scale
from ..graph import Edit, Graph, Node, TensorType, Weight
from ..ops import Role, inputs_with, weight_axis
from ..plan import Kind, NodePlan, Plan
from ..targets.model import Format
from .dynamic import dynamic_product, lookup
from .weights import anchor_scale, bias_codes, quantized

_ANCHOR = Format("int16", symmetric=True, narrow=True, bits=16)


def emit_qdq(graph: Graph, plan: Plan, activations: Mapping[str, QuantParams], weights: Mapping[tuple[str, int], QuantParams]) -> Graph:
    """Rewrite a canonical graph by its plan.

    Args:
        activations: parameters of every tensor of `plan.tensors`.
        weights: parameters of every constant input of `plan.weights`.
    """
    writer = _Writer(graph, plan, activations, weights)
    for node in graph.nodes:
        writer.place(node)
    return writer.edit.graph()


class _Writer:
    """One emission: the edit under way, and the conversions made so far."""

    def __init__(self, graph: Graph, plan: Plan, activations: Mapping[str, QuantParams], weights: Mapping[tuple[str, int], QuantParams]) -> None:
        self.graph, self.plan, self.activations, self.weights = graph, plan, activations, weights
        self.edit = Edit(graph)
        self._read: dict[str, str] = {}  # float tensor -> its dequantized form
        self._constants: dict[tuple[str, int, str], str] = {}  # (weight, scale identity, role) -> dequantized form
        self._scales: dict[int, tuple[str, str]] = {}
        self._shared: dict[str, tuple[str, ...]] = {}  # activation -> outputs of its DynamicQuantizeLinear

    def place(self, node: Node) -> None:
        """Put the node's final form into the edit."""
        chosen = self.plan.nodes[node.name]
        match chosen.kind:
            case Kind.DYNAMIC:
                self.edit.replace(node, *dynamic_product(self.edit, self.graph, node, self.weights[node.name, 1], self._shared))
            case Kind.LOOKUP:
                self.edit.replace(node, *lookup(self.edit, self.graph, node, self.weights[node.name, 0]))
            case Kind.INTEGER:
                self._place_integer(node, chosen)
            case Kind.FLOAT if node.name in self.plan.anchors:
                self.edit.replace(node, self._anchored(node))
            case _:
                pass  # float nodes stay; an absorbed clamp goes together with its host

    def _place_integer(self, node: Node, chosen: NodePlan) -> None:
        inputs = list(node.inputs)
        for i in chosen.reads:
            if not self._written_as_integers(node.inputs[i]):
                inputs[i] = self._dequantized(node.inputs[i])
        for i, name in enumerate(node.inputs):
            if (node.name, i) in self.weights:
                inputs[i] = self._constant(node, i, self.weights[node.name, i], name)
        for i in inputs_with(node, Role.BIAS):
            if self.plan.bias == "int32" and node.inputs[i] in self.graph.weights and (node.name, 1) in self.weights:
                inputs[i] = self._bias(node, i)
        node_now = node.with_(inputs=tuple(inputs))
        if not chosen.writes:
            self.edit.replace(node, node_now)
            return
        clamp = self._clamp_of(node)
        if clamp is not None:
            self.edit.replace(clamp)
        outputs = clamp.outputs if clamp is not None else node.outputs
        raw = tuple(self.edit.fresh(f"{name}/raw") if name else "" for name in outputs)
        for name, value in zip(raw, outputs, strict=True):
            self.edit.set_type(name, self.graph.type_of(value))
        pairs = [step for r, name in zip(raw, outputs, strict=True) if name for step in self._pair(r, name, self.activations[name])]
        self.edit.replace(node, node_now.with_(outputs=raw), *pairs)

    def _written_as_integers(self, name: str) -> bool:
        """Whether the value already arrives through a Q/DQ pair of its producer."""
        producer = self.graph.producer.get(name)
        if producer is None:
            return False
        chosen = self.plan.nodes[producer.name]
        return chosen.writes or chosen.kind is Kind.ABSORBED

    def _clamp_of(self, node: Node) -> Node | None:
        return next((n for n in self.graph.consumers_of(node.output) if self.plan.nodes[n.name].host == node.name), None)

    # --- conversions ---------------------------------------------------------------------------------------------------

    def _pair(self, source: str, result: str, params: QuantParams) -> tuple[Node, Node]:
        """Q and DQ from one float value to another."""
        scale, zero = self._scale(params, result)
        codes = self.edit.fresh(f"{result}/q")
        shape = self.graph.type_of(result).shape
        self.edit.set_type(codes, TensorType(params.format.dtype, shape))
        self.edit.set_type(result, TensorType("float32", shape))
        return (
            Node("QuantizeLinear", (source, scale, zero), (codes,), name=self.edit.fresh_node(f"{result}/QuantizeLinear")),
            Node("DequantizeLinear", (codes, scale, zero), (result,), name=self.edit.fresh_node(f"{result}/DequantizeLinear")),
        )

    def _dequantized(self, name: str) -> str:
        """The quantized and dequantized form of a float value, made once."""
        if name not in self._read:
            result = self.edit.fresh(f"{name}/dq")
            self.edit.set_type(result, self.graph.type_of(name))
            self.edit.add(*self._pair_from(name, result))
            self._read[name] = result
        return self._read[name]

    def _pair_from(self, name: str, result: str) -> tuple[Node, Node]:
        first, second = self._pair(name, result, self.activations[name])
        self.edit.set_type(second.output, self.graph.type_of(name))
        self.edit.set_type(first.output, TensorType(self.activations[name].format.dtype, self.graph.type_of(name).shape))
        return first, second

    def _scale(self, params: QuantParams, hint: str) -> tuple[str, str]:
        """Names of the constants of a scale and zero point; equal parameters share them."""
        if id(params) not in self._scales:
            self._scales[id(params)] = (
                self.edit.add_weight(f"{hint}/scale", params.scale),
                self.edit.add_weight(f"{hint}/zero_point", params.zero_point),
            )
        return self._scales[id(params)]

    # --- constants -----------------------------------------------------------------------------------------------------

    def _constant(self, node: Node, index: int, params: QuantParams, name: str) -> str:
        key = (name, hash((params.scale.tobytes(), params.zero_point.tobytes())), params.format.dtype)
        if key not in self._constants:
            self._constants[key] = self._dequantize_constant(name, quantized(self.graph.weights[name], params), params)
        return self._constants[key]

    def _dequantize_constant(self, name: str, codes: Weight, params: QuantParams) -> str:
        inputs = (self.edit.add_weight(f"{name}/codes", codes), *self._scale(params, name))
        result = self.edit.fresh(f"{name}/dq")
        attributes = {} if params.axis is None else {"axis": params.axis}
        self.edit.add(Node("DequantizeLinear", inputs, (result,), attributes, self.edit.fresh_node(f"{name}/DequantizeLinear")))
        return result

    def _bias(self, node: Node, index: int) -> str:
        """int32 bias in the scale of the accumulator: input scale * weight scale (ONNX QLinearConv, ORT QGemm)."""
        name = node.inputs[index]
        bias = self.graph.weights[name].numpy()
        scale = self.activations[node.input(0)].scale * self.weights[node.name, 1].scale
        flat = np.broadcast_to(np.asarray(bias).reshape(-1) if bias.ndim != 1 else bias, (max(bias.size, scale.size),))
        axis = 0 if scale.ndim else None
        params = params_for_scale(Format("int32", symmetric=True, bits=32), scale, axis)
        codes = bias_codes(flat, scale)
        inputs = (self.edit.add_weight(f"{name}/codes", codes), *self._scale(params, name))
        result = self.edit.fresh(f"{name}/dq")
        attributes = {} if axis is None else {"axis": 0}
        self.edit.add(Node("DequantizeLinear", inputs, (result,), attributes, self.edit.fresh_node(f"{name}/DequantizeLinear")))
        return result

    def _anchored(self, node: Node) -> Node:
        """A float node with its weight carried in 16 bits, which the runtime does not quantize any further at load."""
        name = node.input(1)
        weight = self.graph.weights[name]
        axis = weight_axis(node, len(weight.shape))
        params = params_for_scale(_ANCHOR, anchor_scale(weight.numpy(), axis), axis)
        result = self._dequantize_constant(name, quantized(weight, params), params)
        return node.with_(inputs=(node.inputs[0], result, *node.inputs[2:]))
