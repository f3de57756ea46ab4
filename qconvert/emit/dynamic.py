"""Integer operators for ranges that are measured at run time."""

from __future__ import annotations

from ..calibrate import QuantParams
from ..graph import Edit, Node
from .constants import Constants


def dynamic_product(
    edit: Edit, constants: Constants, node: Node, params: QuantParams, shared: dict[str, tuple[str, ...]]
) -> list[Node]:
    """A MatMul or Gemm with an activation quantized at run time: DynamicQuantizeLinear, MatMulInteger, Cast, Mul (, Add).

    This is the form that onnxruntime fuses to DynamicQuantizeMatMul or MatMulIntegerToFloat.

    Args:
        params: symmetric int8 parameters of the weight, one scale a column or one in all.
        shared: activation to the outputs of its DynamicQuantizeLinear, so that several products share one.
    """
    nodes: list[Node] = []
    source = node.input(0)
    if source not in shared:
        shared[source] = tuple(edit.fresh(f"{source}/{part}") for part in ("q", "scale", "zero_point"))
        nodes.append(
            Node(
                "DynamicQuantizeLinear",
                (source,),
                shared[source],
                name=edit.fresh_node(f"{source}/DynamicQuantizeLinear"),
            )
        )
    codes, scale, zero = shared[source]
    name = node.input(1)
    transpose = bool(node.attr("transB", 0)) if node.op == "Gemm" else False
    weight = constants.operand(name, params, "turned" if transpose else "own")
    weight_scale, weight_zero = constants.scale(params, name)
    biased = node.op == "Gemm" and bool(node.input(2))
    product, as_float, both = (edit.fresh(f"{node.output}/{part}") for part in ("int32", "float", "scale"))
    result = edit.fresh(f"{node.output}/product") if biased else node.output
    nodes += [
        Node(
            "MatMulInteger",
            (codes, weight, zero, weight_zero),
            (product,),
            name=edit.fresh_node(f"{node.name}/MatMulInteger"),
        ),
        Node("Cast", (product,), (as_float,), {"to": 1}, edit.fresh_node(f"{node.name}/Cast")),
        Node("Mul", (scale, weight_scale), (both,), name=edit.fresh_node(f"{node.name}/scale")),
        Node("Mul", (as_float, both), (result,), name=edit.fresh_node(f"{node.name}/rescale")),
    ]
    if biased:
        nodes.append(Node("Add", (result, node.input(2)), node.outputs, name=edit.fresh_node(f"{node.name}/bias")))
    return nodes
