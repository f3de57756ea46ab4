"""What rules match in a model, and starting recipes."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qconvert.errors import QConvertError
from qconvert.graph import Graph, Node, TensorType, weight
from qconvert.recipe import (
    Change,
    Match,
    Recipe,
    Resolved,
    Rule,
    Vocabulary,
    parse_recipe,
    resolve_rules,
    starting_recipe,
)


def node(op: str, name: str, inputs: str, outputs: str) -> Node:
    return Node(op, tuple(inputs.split()), tuple(outputs.split()), name=name)


@pytest.fixture
def graph() -> Graph:
    """x -> stem -> relu -> (left, right) -> sum -> head -> y, and a side branch relu -> aux -> z."""
    return Graph(
        nodes=(
            node("Conv", "stem", "x w0", "s"),
            node("Relu", "relu", "s", "r"),
            node("Conv", "block[0]/left", "r w1", "a"),
            node("Conv", "block[0]/right", "r w2", "b"),
            node("Add", "sum", "a b", "c"),
            node("Gemm", "head", "c w3", "y"),
            node("Sigmoid", "aux", "r", "z"),
        ),
        inputs=("x",),
        outputs=("y", "z"),
        weights={f"w{i}": weight(np.zeros((3, 3), np.float32)) for i in range(4)},
        types={"x": TensorType("float32", ("N", 3, 32, 32))},
    )


FLOAT = Change(keep="float")


def rule(change: Change = FLOAT, **match: Any) -> Rule:
    return Rule(match=Match(**match), set=change)


@pytest.mark.parametrize(
    ("match", "nodes", "tensors"),
    [
        ({"op": "Conv"}, "stem block[0]/left block[0]/right", ""),
        ({"op": ("Gemm", "Add")}, "sum head", ""),
        ({"name": "block[0]/left"}, "block[0]/left", ""),
        ({"name": "block*"}, "block[0]/left block[0]/right", ""),
        ({"name": "re:.*e.*d"}, "head", ""),
        ({"name": "re:hea"}, None, ""),
        ({"name": "HEAD"}, None, ""),
        ({"op": "Conv", "name": "*/*"}, "block[0]/left block[0]/right", ""),
        ({"tensor": "x"}, "", "x"),
        ({"tensor": "w*"}, "", "w0 w1 w2 w3"),
        ({"tensor": "*", "op": "Conv"}, "", "s a b"),
        ({"tensor": ("a", "z"), "name": "*"}, "", "a z"),
        ({"between": ("stem", "sum")}, "stem relu block[0]/left block[0]/right sum", ""),
        ({"between": ("r", "c")}, "block[0]/left block[0]/right sum", ""),
        ({"between": ("x", "z")}, "stem relu aux", ""),
        ({"between": ("a", "y")}, "sum head", ""),
        ({"between": ("relu", "relu")}, "relu", ""),
        ({"between": ("block[0]/left", "head"), "op": "Add"}, "sum", ""),
        ({"between": ("relu", "sum"), "tensor": "*"}, "", "r a b c"),
    ],
)
def test_what_a_rule_speaks_of(graph: Graph, match: dict[str, Any], nodes: str | None, tensors: str) -> None:
    if nodes is None:
        with pytest.raises(QConvertError):
            resolve_rules([rule(**match)], graph)
        return
    expected = Resolved(dict.fromkeys(nodes.split(), FLOAT), dict.fromkeys(tensors.split(), FLOAT))
    assert resolve_rules([rule(**match)], graph) == expected


def test_the_last_match_wins_for_each_field(graph: Graph) -> None:
    rules = [
        rule(Change(keep="float", bits=16), op="Conv"),
        rule(Change(keep="integer"), name="stem"),
        rule(Change(method="mse", symmetric=True), tensor="a"),
        rule(Change(symmetric=False), tensor="*", op="Conv"),
    ]
    found = resolve_rules(rules, graph)
    assert found.nodes["stem"] == Change(keep="integer", bits=16)
    assert found.nodes["block[0]/left"] == Change(keep="float", bits=16)
    assert found.tensors["a"] == Change(method="mse", symmetric=False)
    assert found.tensors["s"] == Change(symmetric=False)


def test_no_rules_change_nothing(graph: Graph) -> None:
    assert resolve_rules((), graph) == Resolved({}, {})


NOTHING = {
    "op: Convv": (17, "no operator type of the model fits: Convv", "nearest: `Conv`"),
    "op: LSTM": (
        17,
        "no operator type of the model fits: LSTM",
        "operator types of the model: Add, Conv, Gemm, Relu, Sigmoid",
    ),
    "name: stm": (19, "no node of the model fits: stm", "nearest: `stem`, `sum`"),
    "name: 're:.*block.*lef'": (19, "no node of the model fits: re:.*block.*lef", "nearest: `block[0]/left`"),
    "name: 'right*'": (19, "no node of the model fits: right*", "nearest: `block[0]/right`"),
    "tensor: [w_1, q]": (21, "no tensor of the model fits: w_1, q", "nearest: `w1`"),
    "between: [stm, head]": (22, "no node or tensor of the model has this name: stm", "nearest: `stem`, `sum`"),
    "between: [head, stem]": (
        22,
        "no path leads from `head` to `stem`",
        "the other way round there is one; swap the two",
    ),
    "between: [aux, head]": (22, "no path leads from `aux` to `head`", None),
    "op: Gemm, name: stem": (
        12,
        "the rule matches nothing: no node or tensor fits `op` and `name` together",
        "each condition alone does match; give them in rules of their own",
    ),
}


@pytest.mark.parametrize("match", NOTHING)
def test_a_rule_that_matches_nothing_is_a_mistake_with_its_place(
    graph: Graph, vocabulary: Vocabulary, presets: Path, match: str
) -> None:
    text = f"rules:\n  - match: {{{match}}}\n    set: {{keep: float}}\n  - {{match: {{op: Nope}}, set: {{bits: 8}}}}\n"
    loaded = parse_recipe(text, "f.yaml", vocabulary, presets)
    with pytest.raises(QConvertError) as caught:
        resolve_rules(loaded.recipe.rules, graph, loaded.source)
    first, second = caught.value.diagnostics
    column, message, hint = NOTHING[match]
    assert (first.code, first.where, first.message, first.hint) == ("R007", f"f.yaml:2:{column}", message, hint)
    assert (second.code, second.where) == ("R007", "f.yaml:4:18")


def test_without_a_source_the_rule_is_named(graph: Graph) -> None:
    with pytest.raises(QConvertError) as caught:
        resolve_rules([rule(op="Conv"), rule(op="X")], graph)
    assert caught.value.diagnostics[0].where == "rules[1].match.op"


OPTION = re.compile(r"^( *)#(?! \S)", re.MULTILINE)


def model(**inputs: TensorType) -> Graph:
    nodes = [node("Conv", f"first {i}", f"{name} w", f"t{i}") for i, name in enumerate(inputs)]
    return Graph(tuple(nodes), tuple(inputs), ("t0",), {"w": weight(np.zeros((3, 3), np.float32))}, inputs)


@pytest.mark.parametrize(
    "make",
    [
        lambda: model(image=TensorType("float32", ("N", 3, 224, 256))),
        lambda: model(image=TensorType("float32", (1, 32, 32, 1))),
        lambda: model(ids=TensorType("int64", ("batch", "sequence")), mask=TensorType("int64", ("batch", "sequence"))),
        lambda: model(
            **{
                "a: b": TensorType("float32", (1, 3, 8, 8)),
                "c\nmode: x": TensorType("float32", ("no", 3, "h#", "w: x")),
            }
        ),
        lambda: model(x=TensorType()),
        model,
    ],
)
def test_a_starting_recipe_loads_with_its_options_off_and_on(
    make: Callable[[], Graph], vocabulary: Vocabulary, presets: Path
) -> None:
    text = starting_recipe(make(), "arm-neon", "a\nb.onnx")
    plain = parse_recipe(text, "r.yaml", vocabulary, presets).recipe
    assert plain == Recipe(target="arm-neon", shapes=plain.shapes)
    everything = parse_recipe(OPTION.sub(r"\1", text), "r.yaml", vocabulary, presets).recipe
    assert everything.gates.metric_drop == 0.01
    assert everything.rules
    assert everything.dataset.labels == "labels.csv"


def test_a_starting_recipe_fits_its_model(graph: Graph, vocabulary: Vocabulary, presets: Path) -> None:
    text = starting_recipe(graph, "x86-vnni")
    assert "# - x: float32[N,3,32,32]\n" in text
    assert "shapes:\n  N: 1\n" in text
    assert "resize: {size: [32, 32], mode: stretch" in text
    recipe = parse_recipe(OPTION.sub(r"\1", text), "r.yaml", vocabulary, presets).recipe
    assert recipe.rules[0].match.name == ("stem", "head")
    resolve_rules(recipe.rules, graph)


def test_presets_load_with_every_option_on(vocabulary: Vocabulary, presets: Path) -> None:
    for path in presets.glob("*.yaml"):
        recipe = parse_recipe(OPTION.sub(r"\1", path.read_text()), str(path), vocabulary, presets).recipe
        assert recipe != Recipe(target=recipe.target)
