"""Attention of com.microsoft, as onnxruntime's transformer optimizer writes it, with ranges measured at run time."""

from pathlib import Path

import numpy as np
import pytest
from quantize_support import EVERYWHERE, X86, ops, optimized, planned, quantized, random, run, text_model

from qconvert.emit import emit_qdq
from qconvert.graph import Array, Graph
from qconvert.lift import lift
from qconvert.plan import Kind
from qconvert.recipe.types import Recipe

BATCH, LENGTH, INPUTS, WIDTH, HEADS = 2, 7, 24, 32, 4
PAST = 3
DYNAMIC = EVERYWHERE.model_copy(update={"mode": "dynamic"})


def attention(
    inputs: str = "", more: str = "", attributes: str = "", outputs: str = "y", width: int = 3 * WIDTH
) -> Graph:
    """One Attention; `inputs` of the graph and `more` inputs of the node."""
    results = ", ".join(f"float[{BATCH},n{i},m{i}] {name}" for i, name in enumerate(outputs.split(", "))).replace(
        f"float[{BATCH},n1,m1]", f"float[2,{BATCH},{HEADS},t,h]"
    )
    text = f"""(float[{BATCH},{LENGTH},{INPUTS}] x{inputs}) => ({results}) {{
        {outputs} = com.microsoft.Attention <num_heads={HEADS}{attributes}> (x, w, b{more})
    }}"""
    graph = text_model(text, w=0.3 * random(INPUTS, width), b=0.3 * random(width))
    return graph.with_(opsets={**graph.opsets, "com.microsoft": 1})


def feed(**others: Array) -> list[dict[str, Array]]:
    return [{"x": random(BATCH, LENGTH, INPUTS), **others}]


def _bits(*shape: int) -> Array:
    return (np.random.default_rng(3).random(shape) > 0.3).astype(np.int32)


MASKS = {
    "none": None,
    "ends": np.array([4, 7], np.int32),
    "ends and starts": np.array([4, 7, 0, 1], np.int32),
    "tokens": _bits(BATCH, LENGTH),
    "pairs": _bits(BATCH, LENGTH, LENGTH),
}


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("attributes", ["", ", unidirectional=1", ", scale=0.4, mask_filter_value=-50.0"])
@pytest.mark.parametrize("granularity", ["per-channel", "per-tensor"])
def test_the_kernel_for_integers_gives_the_float_result(
    mask: str, attributes: str, granularity: str, tmp_path: Path
) -> None:
    value = MASKS[mask]
    dims = ",".join(map(str, value.shape)) if value is not None else ""
    graph = attention(f", int32[{dims}] m", ", m", attributes) if value is not None else attention("", "", attributes)
    found = quantized(graph, [], recipe=DYNAMIC, nodes={"n_y": {"granularity": granularity}})
    emitted, feeds = found.emit(), feed(**({"m": value} if value is not None else {}))
    assert ops(optimized(emitted, tmp_path)) == ["DynamicQuantizeLinear", "QAttention"]
    wanted, got = run(graph, feeds)[0]["y"], run(emitted, feeds)[0]["y"]
    assert np.square(got - wanted).sum() < 2e-3 * np.square(wanted).sum()


def test_a_past_is_handed_through() -> None:
    size = WIDTH // HEADS
    graph = attention(f", float[2,{BATCH},{HEADS},{PAST},{size}] p", ", , p", ", unidirectional=1", "y, present")
    feeds = feed(p=random(2, BATCH, HEADS, PAST, size))
    wanted, got = run(graph, feeds)[0], run(quantized(graph, [], recipe=DYNAMIC).emit(), feeds)[0]
    for name, value in wanted.items():
        assert np.square(got[name] - value).sum() < 2e-3 * np.square(value).sum()


@pytest.mark.parametrize(
    ("graph", "reason"),
    [
        (attention("", "", ", qkv_hidden_sizes=[32, 32, 16]", width=80), "differ in size"),
        (attention(f", float[{BATCH},{HEADS},{LENGTH},{LENGTH}] s", ", , , s"), "added to its scores"),
        (attention("", "", ", do_rotary=1"), "turns positions"),
    ],
)
def test_what_the_kernel_does_not_know_stays_float_with_the_reason(graph: Graph, reason: str) -> None:
    chosen = planned(graph, recipe=DYNAMIC).nodes["n_y"]
    assert chosen.kind is Kind.FLOAT
    assert reason in str(chosen.reason)


def test_sizes_that_are_written_out_are_left_out() -> None:
    graph = attention("", "", ", qkv_hidden_sizes=[32, 32, 32], do_rotary=0, rotary_embedding_dim=0")
    emitted = quantized(graph, [], recipe=DYNAMIC).emit()
    wanted, got = run(graph, feed())[0]["y"], run(emitted, feed())[0]["y"]
    assert np.square(got - wanted).sum() < 2e-3 * np.square(wanted).sum()


def test_auto_is_dynamic_and_static_says_what_else_there_is() -> None:
    assert planned(attention(), recipe=Recipe(placement="everywhere")).nodes["n_y"].kind is Kind.DYNAMIC
    static = planned(attention()).nodes["n_y"]
    assert static.kind is Kind.FLOAT
    assert "mode: dynamic" in str(static.reason)
    assert "mode: weight-only" in str(static.reason)


@pytest.mark.parametrize("bits", [8, 4])
def test_its_weights_are_stored_in_few_bits(bits: int) -> None:
    graph = attention().with_(opsets={"": 21, "com.microsoft": 1})
    found = quantized(graph, [], recipe=Recipe(mode="weight-only", weights={"bits": bits, "block": 16}))
    assert found.plan.nodes["n_y"].kind is Kind.WEIGHT_ONLY
    wanted, got = run(graph, feed())[0]["y"], run(found.emit(), feed())[0]["y"]
    assert np.square(got - wanted).sum() < (1e-3 if bits == 8 else 0.1) * np.square(wanted).sum()


def test_multiplications_of_the_projection_are_counted() -> None:
    found = planned(attention(), recipe=DYNAMIC)
    assert found.nodes["n_y"].macs == BATCH * LENGTH * INPUTS * 3 * WIDTH
    assert found.prediction.integer_macs == found.prediction.macs


def test_a_dynamic_attention_is_read_back_as_float() -> None:
    graph = attention()
    made = quantized(graph, [], recipe=DYNAMIC)
    lifted = lift(emit_qdq(graph, made.plan, made.activations, made.weights)).graph
    assert [node.key for node in lifted.nodes] == ["com.microsoft.Attention"]
    wanted, got = run(graph, feed())[0]["y"], run(lifted, feed())[0]["y"]
    assert np.square(got - wanted).sum() < 2e-3 * np.square(wanted).sum()
    assert planned(lifted, X86, DYNAMIC).nodes["n_y"].kind is Kind.DYNAMIC
