"""Artefact in operator form: the same plan as the Q/DQ form, written with operators that compute on integers.

QuantizeLinear and DequantizeLinear stand only where an integer region meets float. What no integer operator can express
(16-bit activations, a bias that is computed at run time, ...) keeps its Q/DQ form, so every plan can be written.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..calibrate import QuantParams, quantize
from ..graph import Array, Graph, Node
from ..ops import Role, inputs_with
from ..plan import NodePlan, Plan
from .constants import MICROSOFT
from .qdq import QdqWriter


def emit_qoperator(
    graph: Graph, plan: Plan, activations: Mapping[str, QuantParams], weights: Mapping[tuple[str, int], QuantParams]
) -> Graph:
    """Rewrite a canonical graph (opset 13 or newer) by its plan.

    Args:
        activations: parameters of every tensor of `plan.tensors`.
        weights: parameters of every constant input of `plan.weights`.
    """
    return _OperatorWriter(graph, plan, activations, weights).written()


class _OperatorWriter(QdqWriter):
    def place_integer(self, node: Node, chosen: NodePlan) -> None:
        site, clamp = Site(self, node, chosen), self.clamp_of(node) if chosen.writes else None
        fits = node.op in BUILDERS and site.all_integers and (clamp is None or self.vanishes(clamp))
        new = BUILDERS[node.op](site) if fits else None
        if new is None:
            super().place_integer(node, chosen)
            return
        results = clamp.outputs if clamp is not None else node.outputs
        if clamp is not None:
            self.edit.replace(clamp)
        if not chosen.writes:
            self.edit.replace(node, new)
            return
        codes = tuple(self.codes_name(name) if name else "" for name in results)
        self.edit.replace(node, new.with_(outputs=codes), *(self.dequantize(name, name) for name in results if name))


@dataclass(frozen=True, slots=True)
class Site:
    """A node that is to become an integer operator, with what its builder may ask."""

    writer: QdqWriter
    node: Node
    plan: NodePlan

    @property
    def all_integers(self) -> bool:
        """Whether every data and weight input is at hand as 8-bit codes, and so is the result if it is integer."""
        wanted = [i for role in (Role.DATA, Role.WEIGHT) for i in inputs_with(self.node, role)]
        known = all(i in self.plan.reads or (self.node.name, i) in self.writer.weights for i in wanted)
        used = [*(self._params(i) for i in wanted), *([self.result] if self.plan.writes else [])] if known else []
        return known and all(params.format.bits <= 8 for params in used)

    @property
    def result(self) -> QuantParams:
        """Parameters of the result, of the absorbed clamp's where there is one."""
        clamp = self.writer.clamp_of(self.node)
        return self.writer.activations[clamp.output if clamp is not None else self.node.output]

    def result_scale(self) -> tuple[str, ...]:
        """Scale and zero point of the result."""
        return self.writer.constants.scale(self.result, self.node.output)

    def codes(self, index: int) -> str:
        """An input as integers."""
        name, weight = self.node.inputs[index], self.writer.weights.get((self.node.name, index))
        return self.writer.codes_of(name) if weight is None else self.writer.constants.operand(name, weight)

    def operand(self, index: int) -> tuple[str, str, str]:
        """An input as integers, with its scale and zero point."""
        return self.codes(index), *self.writer.constants.scale(self._params(index), self.node.inputs[index])

    def operands(self) -> tuple[str, ...]:
        """All data and weight inputs, each with scale and zero point."""
        wanted = [
            i
            for i in range(len(self.node.inputs))
            if i in self.plan.reads or (self.node.name, i) in self.writer.weights
        ]
        return tuple(part for i in wanted for part in self.operand(i))

    def bias(self) -> tuple[str, ...] | None:
        """The int32 bias; () if the node has none, None if it is none that an integer operator can add."""
        if not self.node.input(2):
            return ()
        params = self.writer.bias_params(self.node, 2)
        return None if params is None else (self.writer.constants.bias(self.node.inputs[2], params),)

    def becomes(self, op: str, inputs: tuple[str, ...], domain: str = MICROSOFT, **attributes: Any) -> Node:
        """The node as another operator; its own attributes stay, apart from those given."""
        return Node(op, inputs, self.node.outputs, {**self.node.attributes, **attributes}, self.node.name, domain)

    def _params(self, index: int) -> QuantParams:
        weight = self.writer.weights.get((self.node.name, index))
        return self.writer.activations[self.node.inputs[index]] if weight is None else weight


Builder = Callable[[Site], Node | None]


def _called(op: str) -> Builder:
    """An operator of onnxruntime that takes its operands, then the scale and zero point of the result."""

    def build(site: Site) -> Node | None:
        return site.becomes(op, (*site.operands(), *site.result_scale())) if site.plan.writes else None

    return build


def _conv(site: Site) -> Node | None:
    bias = site.bias()
    if bias is None or not site.plan.writes:
        return None
    return site.becomes("QLinearConv", (*site.operands(), *site.result_scale(), *bias), domain="")


def _matmul(site: Site) -> Node | None:
    weight = site.writer.weights.get((site.node.name, 1))
    if weight is not None and weight.scale.ndim and len(site.writer.graph.weights[site.node.inputs[1]].shape) > 2:
        return None  # scales of columns only for one matrix
    if site.plan.writes:
        return site.becomes("QLinearMatMul", (*site.operands(), *site.result_scale()), domain="")
    (a, a_scale, a_zero), (b, b_scale, b_zero) = site.operand(0), site.operand(1)
    return site.becomes("MatMulIntegerToFloat", (a, b, a_scale, b_scale, a_zero, b_zero))


def _gemm(site: Site) -> Node | None:
    bias, factors = site.bias(), (site.node.attr("alpha", 1.0), site.node.attr("beta", 1.0))
    if bias is None or factors != (1.0, 1.0):
        return None
    result = site.result_scale() if site.plan.writes else ()
    attributes = {key: site.node.attr(key, 0) for key in ("transA", "transB")}
    inputs = (*site.operands(), *(bias or ("",)), *result) if result or bias else site.operands()
    return site.becomes("QGemm", inputs).with_(attributes=attributes)


def _concat(site: Site) -> Node | None:
    return site.becomes("QLinearConcat", (*site.result_scale(), *site.operands())) if site.plan.writes else None


def _where(site: Site) -> Node | None:
    inputs = (site.node.inputs[0], *site.operands(), *site.result_scale())
    return site.becomes("QLinearWhere", inputs) if site.plan.writes else None


def _softmax(site: Site) -> Node | None:
    opset = site.writer.graph.opset
    axis = site.node.attr("axis", -1 if opset >= 13 else 1)
    inputs = (*site.operands(), *site.result_scale())
    return site.becomes("QLinearSoftmax", inputs, opset=opset, axis=axis) if site.plan.writes else None


def _average_pool(site: Site) -> Node | None:
    if any(d != 1 for d in site.node.attr("dilations", ())):
        return None
    new = _called("QLinearAveragePool")(site)
    return None if new is None else new.with_(attributes={k: v for k, v in new.attributes.items() if k != "dilations"})


def _moved(site: Site) -> Node | None:
    """An operator that only moves or selects values runs on the integers themselves."""
    return site.node.with_(inputs=(site.codes(0), *site.node.inputs[1:])) if site.plan.writes else None


def _max_pool(site: Site) -> Node | None:
    return _moved(site) if len(site.node.outputs) == 1 else None


def _pad(site: Site) -> Node | None:
    """Padding with 0 is padding with the zero point."""
    moved, value = _moved(site), site.node.input(2)
    if moved is None or site.node.attr("mode", "constant") != "constant":
        return moved
    constant = site.writer.graph.constant(value) if value else np.zeros((), np.float32)
    if constant is None:
        return None
    codes: Array = quantize(constant.reshape(()), site.result)
    inputs = [*moved.inputs, ""][:3]
    inputs[2] = site.writer.edit.add_weight(f"{site.node.output}/padding", codes)
    return moved.with_(inputs=(*inputs, *moved.inputs[3:]))


def _resize(site: Site) -> Node | None:
    fine = (
        site.node.attr("mode", "nearest") == "nearest"
        and site.node.attr("coordinate_transformation_mode") != "tf_crop_and_resize"
    )
    return _moved(site) if fine else None


BUILDERS: dict[str, Builder] = {
    "Conv": _conv,
    "MatMul": _matmul,
    "Gemm": _gemm,
    "Add": _called("QLinearAdd"),
    "Mul": _called("QLinearMul"),
    "Concat": _concat,
    "Where": _where,
    "AveragePool": _average_pool,
    "GlobalAveragePool": _called("QLinearGlobalAveragePool"),
    "Sigmoid": _called("QLinearSigmoid"),
    "LeakyRelu": _called("QLinearLeakyRelu"),
    "Softmax": _softmax,
    "Reshape": _moved,
    "Flatten": _moved,
    "Squeeze": _moved,
    "Unsqueeze": _moved,
    "Transpose": _moved,
    "Slice": _moved,
    "Split": _moved,
    "Expand": _moved,
    "Tile": _moved,
    "Gather": _moved,
    "DepthToSpace": _moved,
    "SpaceToDepth": _moved,
    "Pad": _pad,
    "MaxPool": _max_pool,
    "ReduceMax": _moved,
    "ReduceMin": _moved,
    "Resize": _resize,
}
