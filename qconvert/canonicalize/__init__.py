"""Bringing a model into the form that planning expects, one rewrite rule a file.

Every rule is exact up to rounding, says what it did, and says what it left and why. Bodies of If, Loop and Scan stay as they are;
what they read from outside counts as read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import Diagnostic, QConvertError, fail
from ..graph import Graph, infer_types
from .auto_pad import explicit_pads
from .average_pool import average_pool_to_conv
from .clamps import join_clamps
from .constants import constants_to_weights
from .conv_pad import pad_into_conv
from .dead_code import drop_dead_code
from .decompose import decompose
from .depthwise_channels import pad_depthwise_channels
from .fold_affine import fold_affine
from .fold_batchnorm import fold_batchnorm
from .fold_constants import fold_constants
from .gelu import fuse_gelu
from .gemm import plain_gemm
from .hard_swish import split_hard_swish
from .inputs import weights_out_of_inputs
from .layer_norm import fuse_layer_norm
from .lstm import forward_lstm, why_not_fused
from .matmul_add import matmul_add_to_gemm
from .names import name_nodes
from .no_ops import drop_no_ops
from .opset import raise_opset
from .reduce_axes import plain_reductions
from .rewrite import Rewrite, Rule
from .stem_channels import pad_stem_channels
from .unfuse import unfuse
from .unroll import unroll, why_not_unrolled
from .whole_pool import whole_pool

__all__ = [
    "OPSET",
    "RULES",
    "Applied",
    "Canonical",
    "Rewrite",
    "Rule",
    "canonicalize",
    "why_not_fused",
    "why_not_unrolled",
]

OPSET = "opset"  # the first step, which is no row of the table because it needs to know the opset
MAX_ROUNDS = 20

# In the order in which they run; a round is repeated while something changes, as one rule makes room for another.
RULES: dict[str, Rule] = {
    "names": Rule(name_nodes, "unique node names"),
    "inputs": Rule(weights_out_of_inputs, "weights that are graph inputs too -> plain weights"),
    "dead-code": Rule(drop_dead_code, "unused nodes and weights removed"),
    "constants": Rule(constants_to_weights, "Constant nodes -> weights"),
    "unfuse": Rule(unfuse, "operators fused by onnxruntime -> standard operators"),
    "no-ops": Rule(drop_no_ops, "Identity, Dropout and Cast to the same type removed"),
    "fold-constants": Rule(fold_constants, "results known beforehand -> weights"),
    "clamps": Rule(join_clamps, "Max and Min with a number -> Relu or Clip, clamps in a row -> one"),
    "reduce-axes": Rule(plain_reductions, "axes of reductions without a rule for none"),
    "auto-pad": Rule(explicit_pads, "auto_pad -> explicit pads"),
    "conv-pad": Rule(pad_into_conv, "Pad + Conv -> Conv"),
    "gemm": Rule(plain_gemm, "Gemm with alpha and beta of 1"),
    "fold-batchnorm": Rule(fold_batchnorm, "BatchNormalization folded into a layer"),
    "fold-affine": Rule(fold_affine, "Mul, Add, Sub, Div by constants folded into a layer"),
    "layer-norm": Rule(fuse_layer_norm, "decomposed LayerNormalization -> LayerNormalization"),
    "gelu": Rule(fuse_gelu, "Gelu by erf -> Gelu"),
    "matmul-add-to-gemm": Rule(matmul_add_to_gemm, "MatMul + Add -> Gemm", always=False),
    "average-pool-to-conv": Rule(average_pool_to_conv, "AveragePool -> depthwise Conv", always=False),
    "depthwise-channels": Rule(pad_depthwise_channels, "depthwise channels padded to a multiple of 16", always=False),
    "hard-swish": Rule(
        split_hard_swish, "HardSwish -> Add, Clip, Mul with the factor in the next weights", always=False
    ),
    "forward-lstm": Rule(forward_lstm, "LSTM -> forward, time first, one output, for a fused kernel", always=False),
    "unroll": Rule(unroll, "short LSTM and GRU layers -> their steps", always=False),
    "decompose": Rule(decompose, "operators without an integer kernel -> operators that have one", always=False),
    "whole-pool": Rule(whole_pool, "AveragePool over all of space -> GlobalAveragePool", always=False),
    "stem-channels": Rule(pad_stem_channels, "3 input channels padded to 4", always=False),
}


@dataclass(frozen=True)
class Applied:
    """What one rule did, one line an application."""

    rule: str
    lines: tuple[str, ...]


@dataclass(frozen=True)
class Canonical:
    """A canonical graph, how it came about, and M100 notes about what was left."""

    graph: Graph
    applied: tuple[Applied, ...]
    diagnostics: tuple[Diagnostic, ...]


def canonicalize(graph: Graph, opset: int = 13, extra: Sequence[str] = ()) -> Canonical:
    """Bring a graph into the form that planning expects.

    Args:
        graph: a loaded model.
        opset: lowest opset that the formats to be written need.
        extra: rules of `RULES` that the target asks for on top of those that always run.

    Returns:
        The graph with types as far as ONNX can infer them; doing it again changes nothing.

    Raises:
        QConvertError: M007, if the opset cannot be raised.
        ValueError: `extra` names a rule that does not exist.
    """
    unknown = [name for name in extra if name not in RULES]
    if unknown:
        raise ValueError(f"no rewrite rule is called {unknown[0]!r}; there are {', '.join(RULES)}")
    raised = raise_opset(graph, opset)
    lines: dict[str, list[str]] = {OPSET: list(raised.done), **{name: [] for name in RULES}}
    wanted = {name: rule for name, rule in RULES.items() if rule.always or name in extra}
    now, notes = infer_types(raised.graph), tuple[Diagnostic, ...]()
    for _ in range(MAX_ROUNDS):
        changed, notes = _round(now, wanted, lines)
        if changed is now:
            break
        now = infer_types(changed)
    else:
        raise _endless(now, wanted)
    return Canonical(now, tuple(Applied(name, tuple(found)) for name, found in lines.items() if found), notes)


def _endless(graph: Graph, rules: dict[str, Rule]) -> QConvertError:
    """X001 with the rules that still find something."""
    names = [name for name, rule in rules.items() if rule.run(graph).done]
    return fail("X001", f"rewrite rules undo each other: {', '.join(names)}", None, "please report it with the model")


def _round(graph: Graph, rules: dict[str, Rule], lines: dict[str, list[str]]) -> tuple[Graph, tuple[Diagnostic, ...]]:
    """Run each rule once; the same graph comes back if none found anything."""
    notes: list[Diagnostic] = []
    now = graph
    for name, rule in rules.items():
        result = rule.run(now)
        lines[name].extend(result.done)
        notes.extend(result.skipped)
        now = result.graph if result.done else now
    return now, tuple(notes)
