"""LSTM layers in the one form that a fused integer kernel takes: forward, time first, no state from outside, one output.

A layer that runs backward reads its input reversed; one that runs both ways becomes two. Exact. The third output of the result,
the cell state, stays unread: it stands for what lies inside the kernel.

Source: ONNX operator LSTM; UNIDIRECTIONAL_SEQUENCE_LSTM of TensorFlow Lite Micro, whose kernel for CMSIS-NN begins every run with a
state of zeros and keeps its cell state in scratch memory, whatever the file says.
"""

from __future__ import annotations

import numpy as np

from ..errors import Diagnostic
from ..graph import Edit, Graph, Node
from .chain import Chain
from .match import static_dims
from .rewrite import Change, Rewrite, label, sweep

_BACKWARD = np.iinfo(np.int64).min


def forward_lstm(graph: Graph) -> Rewrite:
    """Bring every LSTM that a fused kernel can run into its form."""
    return sweep(graph, _attempt)


def _attempt(graph: Graph, node: Node) -> Change | Diagnostic | None:
    if node.op != "LSTM" or node.domain or why_not_fused(graph, node) or _is_plain(graph, node):
        return None

    def apply(edit: Edit) -> None:
        chain = Chain(graph, edit, node)
        _layer(chain)
        chain.done()

    return Change(f"{label(node)} -> form of one fused operator: forward, time first", (node,), apply)


def why_not_fused(graph: Graph, node: Node) -> str:
    """Why a fused kernel cannot run an LSTM as it is meant, "" if it can."""
    dims = static_dims(graph.type_of(node.input(0)).shape)
    if dims is None or len(dims) != 3:
        return "its input has no fixed size"
    return why_not_plain(graph, node, dims[0]) or _why_stateful(graph, node, dims[0])


def why_not_plain(graph: Graph, node: Node, steps: int) -> str:
    """Why an LSTM or GRU is not the plain layer of its name, "" if it is."""
    if any(node.input(i) not in graph.weights for i in (1, 2)) or (
        node.input(3) and node.input(3) not in graph.weights
    ):
        return "its weights are computed at run time"
    lengths = graph.constant(node.input(4)) if node.input(4) else np.full(1, steps)
    if lengths is None or (lengths != steps).any():
        return "its sequences differ in length"
    if node.input(7) or node.attr("clip") is not None or node.attr("input_forget", 0):
        return "it has peepholes, a clip or coupled gates"
    if node.attr("layout", 0):
        return "its layout is batch first, which onnxruntime, the reference, does not run; put a Transpose in front"
    usual = DEFAULTS[node.op] * (2 if node.attr("direction", "forward") == "bidirectional" else 1)
    if tuple(node.attr("activations") or usual) != usual:
        return f"its activations are {', '.join(node.attr('activations'))}"
    return ""


DEFAULTS = {"LSTM": ("Sigmoid", "Tanh", "Tanh"), "GRU": ("Sigmoid", "Tanh")}


def _why_stateful(graph: Graph, node: Node, steps: int) -> str:
    given = [graph.constant(node.input(i)) for i in (5, 6) if node.input(i)]
    if any(state is None or state.any() for state in given):
        return "it starts from a given state, and the fused kernel of CMSIS-NN starts from zeros"
    cell = node.outputs[2] if len(node.outputs) > 2 else ""
    if cell and (cell in graph.outputs or graph.consumers_of(cell)):
        return "its last cell state is read, and the fused kernel of CMSIS-NN does not give it"
    return "one step needs no loop" if steps == 1 else ""


def _is_plain(graph: Graph, node: Node) -> bool:
    """Whether a layer has the form already."""
    bias = graph.constant(node.input(3)) if node.input(3) else None
    folded = bias is None or not bias[:, bias.shape[1] // 2 :].any()
    forward = node.attr("direction", "forward") == "forward"
    return forward and folded and len(node.inputs) <= 4 and len(node.outputs) == 3 and not node.outputs[1]


_DIRECTIONS = {"forward": (False,), "reverse": (True,), "bidirectional": (False, True)}


def _layer(chain: Chain) -> None:
    """All directions, and the outputs that are wanted."""
    node, outputs = chain.node, (*chain.node.outputs, "")
    backward = _DIRECTIONS[node.attr("direction", "forward")]
    passes = [_pass(chain, node.inputs[0], n, way) for n, way in enumerate(backward)]
    if outputs[0]:
        in_time = [_reversed(chain, y) if way else y for y, way in zip(passes, backward, strict=True)]
        _give(chain, [chain.add("Unsqueeze", y, np.ones(1, np.int64)) for y in in_time], 1, outputs[0])
    if outputs[1]:
        _give(chain, [_last_step(chain, y) for y in passes], 0, outputs[1])


def _pass(chain: Chain, source: str, number: int, backward: bool) -> str:
    """One direction as a layer of its own: hidden states [steps, batch, hidden] in the order in which it meets them."""
    node, edit = chain.node, chain.edit
    rows = [chain.graph.weights[name].numpy()[number : number + 1] for name in node.inputs[1:4] if name]
    if len(rows) == 3:
        half = rows[2].shape[1] // 2
        rows[2] = np.concatenate([rows[2][:, :half] + rows[2][:, half:], np.zeros_like(rows[2][:, half:])], 1)
    names = [edit.add_weight(f"{node.name}_{what}", array) for what, array in zip("WRB", rows, strict=False)]
    reads = _reversed(chain, source) if backward else source
    hidden, cell = edit.fresh(f"{node.name}_hidden"), edit.fresh(f"{node.name}_cell")
    name = node.name if number == 0 else edit.fresh_node(f"{node.name}_backward")
    size = {"hidden_size": int(rows[1].shape[2])}
    chain.nodes.append(Node("LSTM", (reads, *names), (hidden, "", cell), size, name))
    return chain.add("Squeeze", hidden, np.ones(1, np.int64))


def _reversed(chain: Chain, value: str) -> str:
    return chain.add("Slice", value, *(np.array([v], np.int64) for v in (-1, _BACKWARD, 0, -1)))


def _last_step(chain: Chain, value: str) -> str:
    """[1, batch, hidden]."""
    return chain.add("Slice", value, *(np.array([v], np.int64) for v in (-1, np.iinfo(np.int64).max, 0)))


def _give(chain: Chain, values: list[str], axis: int, name: str) -> None:
    """Join the directions under the name that the model reads."""
    op, attributes = ("Concat", {"axis": axis}) if len(values) > 1 else ("Identity", {})
    title = chain.edit.fresh_node(f"{chain.node.name}_{op}")  # the layer itself keeps its name
    chain.nodes.append(Node(op, tuple(values), (name,), attributes, title))
