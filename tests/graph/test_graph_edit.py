"""Edits give a new graph: sorted, without what nothing reads, and the old one as it was."""

from __future__ import annotations

import numpy as np
import pytest
from end_to_end_support import conv_model
from hypothesis import given, settings
from hypothesis import strategies as st

from qconvert.graph import Edit, Graph, Node, TensorType, from_proto, sort


@pytest.fixture
def graph() -> Graph:
    return from_proto(conv_model())


def test_no_change_is_no_change(graph: Graph) -> None:
    edit = Edit(graph)
    assert not edit.changed
    assert str(edit.graph()) == str(graph)


def test_node_removed_and_readers_redirected(graph: Graph) -> None:
    before = str(graph)
    edit = Edit(graph)
    relu = graph.by_name["relu1"]
    edit.replace(relu)
    edit.redirect(relu.output, relu.inputs[0])
    assert edit.current(relu) is None
    after = edit.graph()
    assert "relu1" not in after.by_name
    assert after.by_name["conv2"].inputs[0] == "c1"
    assert str(graph) == before


def test_what_nothing_reads_goes(graph: Graph) -> None:
    edit = Edit(graph)
    edit.redirect("r1", edit.add_weight("constant", np.zeros((1, 16, 8, 8), np.float32)))
    after = edit.graph()
    assert {"conv1", "relu1"}.isdisjoint(after.by_name)
    assert {"w1", "b1"}.isdisjoint(after.weights)
    assert after.inputs == ("x",)
    assert "c1" not in after.types


def test_added_nodes_are_sorted_into_place(graph: Graph) -> None:
    edit = Edit(graph)
    edit.add(Node("Neg", ("c1",), ("n",), name="neg"))
    edit.redirect("r1", "n")
    order = [node.name for node in edit.graph().nodes]
    assert order.index("conv1") < order.index("neg") < order.index("conv2")


def test_names_are_fresh(graph: Graph) -> None:
    edit = Edit(graph)
    assert (edit.fresh("new"), edit.fresh("new"), edit.fresh("w1")) == ("new", "new_1", "w1_1")
    assert edit.fresh("") != ""
    assert edit.fresh_node("conv1") == "conv1_1"


def test_weight_and_type(graph: Graph) -> None:
    edit = Edit(graph)
    edit.set_weight("b1", np.zeros(16, np.float32))
    edit.set_type("c1", TensorType("float32", (1, 16, 8, 8)))
    after = edit.graph()
    np.testing.assert_array_equal(after.constant("b1"), np.zeros(16))
    assert after.type_of("c1").shape == (1, 16, 8, 8)
    assert graph.constant("b1") is not None
    assert graph.constant("b1").any()


def test_questions(graph: Graph) -> None:
    assert graph.feeds == ("x",)
    assert graph.producer["r1"].name == "relu1"
    assert [n.name for n in graph.consumers_of("r1")] == ["conv2"]
    assert graph.sole_consumer("y") is None
    assert graph.constant("x") is None
    assert graph.weight_shape("w1") == (16, 3, 3, 3)
    assert str(graph.type_of("x")) == "float32[batch,3,8,8]"
    assert str(TensorType()) == "?[?]"


@settings(max_examples=50, deadline=None)
@given(st.permutations(range(8)), st.lists(st.integers(0, 7), min_size=8, max_size=8))
def test_sort_puts_producers_first(order: list[int], parents: list[int]) -> None:
    nodes = [Node("Neg", (f"v{min(parents[i], i - 1)}" if i else "x",), (f"v{i}",), name=str(i)) for i in range(8)]
    done = {"x"}
    for node in sort([nodes[i] for i in order], {"x"}):
        assert set(node.reads) <= done
        done.update(node.outputs)
    assert len(done) == 9


def test_cycle_is_refused() -> None:
    with pytest.raises(ValueError, match="cycle"):
        sort([Node("Neg", ("b",), ("a",), name="one"), Node("Neg", ("a",), ("b",), name="two")], set())
