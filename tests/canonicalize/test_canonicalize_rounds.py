"""Rules that never come to an end are a bug, which is said."""

import pytest
from quantize_support import text_model

from qconvert import canonicalize
from qconvert.errors import QConvertError
from qconvert.graph import Graph


def test_rules_that_undo_each_other_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def turn(graph: Graph) -> canonicalize.Rewrite:
        return canonicalize.Rewrite(graph.with_(nodes=graph.nodes), ("turned around",))

    monkeypatch.setitem(canonicalize.RULES, "restless", canonicalize.Rule(turn, "never content"))
    with pytest.raises(QConvertError, match="undo each other: restless") as caught:
        canonicalize.canonicalize(text_model("(float[2] x) => (float[2] y) { y = Relu(x) }"))
    assert caught.value.exit_code == 1
