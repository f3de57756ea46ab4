"""Which tensors are scaled together, on text models; and that any scale leaves the function as it is."""

from collections.abc import Sequence

import numpy as np
import pytest
from equalize_support import DYNAMIC, plan_of
from hypothesis import given, settings
from hypothesis import strategies as st
from quantize_support import EVERYWHERE, feeds_of, random, run, text_model

from qconvert.graph import Array, Graph
from qconvert.optimize.equalize import scaled_graph
from qconvert.optimize.equalize_groups import Group, find_groups
from qconvert.recipe.types import Recipe

CHAIN = """(float[1,4,8,8] x) => (float[1,5,8,8] y) {
    a = Conv<kernel_shape=[3,3], pads=[1,1,1,1]>(x, w1, b1)
    r = Relu(a)
    d = Conv<kernel_shape=[3,3], pads=[1,1,1,1], group=8>(r, w2, b2)
    %s
    y = Conv<kernel_shape=[1,1]>(e, w3)
}"""


def chain(middle: str, **weights: Array) -> Graph:
    constants = {
        "w1": random(8, 4, 3, 3),
        "b1": random(8),
        "w2": random(8, 1, 3, 3),
        "b2": random(8, seed=1),
        "w3": random(5, 8, 1, 1),
    }
    return text_model(CHAIN % middle, **constants, **weights)


def groups(graph: Graph, recipe: Recipe = EVERYWHERE, residual: float | None = None) -> tuple[Group, ...]:
    return find_groups(graph, plan_of(graph, recipe), residual)


def members(found: Sequence[Group]) -> list[set[str]]:
    return [set(group.members) for group in found]


ATTENTION = """(float[1,6,8] x) => (float[1,6,8] y) {
    v = MatMul(x, wv)
    vb = Add(v, bv)
    vh = Reshape(vb, heads)
    vt = Transpose<perm=[0,2,1,3]>(vh)
    q = MatMul(x, wq)
    qh = Reshape(q, heads)
    qt = Transpose<perm=[0,2,1,3]>(qh)
    kt = Transpose<perm=[0,2,3,1]>(qh)
    s = MatMul(qt, kt)
    p = Softmax<axis=-1>(s)
    c = MatMul(p, vt)
    ct = Transpose<perm=[0,2,1,3]>(c)
    cm = Reshape(ct, merged)
    y = MatMul(cm, wo)
}"""


def attention() -> Graph:
    return text_model(
        ATTENTION,
        wv=random(8, 8), bv=random(8), wq=random(8, 8, seed=1), wo=random(8, 8, seed=2),
        heads=np.array([1, 6, 2, 4]), merged=np.array([1, 6, 8]),
    )  # fmt: skip


POST_NORM = """(float[1,6,8] x) => (float[1,6,8] y) {
    n = LayerNormalization<axis=-1>(x, g, b)
    u = MatMul(n, w1)
    z = Relu(u)
    d = MatMul(z, w2)
    h = Add(n, d)
    y = LayerNormalization<axis=-1>(h, g, b)
}"""


def post_norm() -> Graph:
    return text_model(POST_NORM, g=random(8), b=random(8, seed=1), w1=random(8, 16), w2=random(16, 8))


GATED = """(float[1,6,8] x) => (float[1,6,8] y) {
    m = Mul(x, x)
    a = ReduceMean<axes=[-1]>(m)
    r = Sqrt(a)
    n = Div(x, r)
    t = Mul(n, g)
    gate = MatMul(t, wg)
    sg = Sigmoid(gate)
    silu = Mul(gate, sg)
    up = MatMul(t, wu)
    h = Mul(silu, up)
    y = MatMul(h, wd)
}"""


def gated() -> Graph:
    return text_model(GATED, g=random(8), wg=random(8, 16), wu=random(8, 16, seed=1), wd=random(16, 8))


RESIDUAL = """(float[1,4,8,8] x) => (float[1,3] y) {
    a = Conv<kernel_shape=[1,1]>(x, w1, b1)
    r = Relu(a)
    c = Conv<kernel_shape=[1,1]>(r, w2)
    s = Add(r, c)
    p = MaxPool<kernel_shape=[2,2], strides=[2,2]>(s)
    f = Flatten(p)
    y = Gemm<transB=1>(f, w3)
}"""


def residual() -> Graph:
    return text_model(RESIDUAL, w1=random(6, 4, 1, 1), b1=random(6), w2=random(6, 6, 1, 1), w3=random(3, 96))


def test_a_depthwise_chain_has_a_group_on_either_side() -> None:
    found = groups(chain("e = LeakyRelu(d)"))
    assert members(found) == [{"a", "r"}, {"d", "e"}]
    assert [{(s.node, s.input, s.power) for s in group.stakes} for group in found] == [
        {("n_a", 1, -1), ("n_a", 2, -1), ("n_d", 1, 1)},
        {("n_d", 1, -1), ("n_d", 2, -1), ("n_y", 1, 1)},
    ]


@pytest.mark.parametrize("step", ["e = Sigmoid(d)", "e = Clip(d, zero, six)", "e = Tanh(d)", "e = Mul(d, d)"])
def test_what_is_not_homogeneous_ends_a_group(step: str) -> None:
    found = groups(chain(step, zero=np.float32(0), six=np.float32(6)))
    assert members(found) == [{"a", "r"}]


def test_an_open_clip_is_a_relu() -> None:
    assert members(groups(chain("e = Clip(d, zero)", zero=np.float32(0)))) == [{"a", "r"}, {"d", "e"}]


def test_a_residual_block_is_one_group_and_its_pixels_share_a_scale() -> None:
    (group,) = groups(residual())
    assert set(group.members) == {"a", "r", "c", "s", "p", "f"}
    assert group.count == 6
    assert group.readers == ("n_c", "n_y")


def test_values_pass_through_attention_heads() -> None:
    (group,) = groups(attention(), DYNAMIC)
    assert set(group.members) == {"vb", "v", "vh", "vt", "c", "ct", "cm"}
    assert group.count == 8


def test_a_gated_product_carries_the_scale_on_its_linear_side() -> None:
    found = groups(gated(), DYNAMIC)
    assert members(found) == [{"t"}, {"h", "up"}]
    assert ("n_t", 1, -1) in {(s.node, s.input, s.power) for s in found[0].stakes}


def test_a_residual_after_the_norm_is_multiplied_back_only_if_asked_and_worth_it() -> None:
    graph, wanted = post_norm(), {"z", "u"}
    plan = plan_of(graph, DYNAMIC, n_h={"keep": "float"})
    assert members(find_groups(graph, plan, None)) == [wanted]
    assert members(find_groups(graph, plan, 17.0)) == [wanted]
    first, second = find_groups(graph, plan, 16.0)
    assert (set(first.members), first.undone) == ({"n"}, ("n", ("n_h",)))
    assert set(second.members) == wanted


def test_a_residual_that_is_read_as_integers_cannot_be_multiplied_back() -> None:
    graph = post_norm()
    assert members(find_groups(graph, plan_of(graph, DYNAMIC, n_h={"keep": "integer"}), 1.0)) == [{"z", "u"}]


def test_graph_outputs_are_never_scaled() -> None:
    graph = chain("e = Relu(d)")
    assert members(groups(graph.with_(outputs=("y", "r")))) == [{"d", "e"}]


def test_a_tensor_of_unknown_shape_has_no_group() -> None:
    graph = residual()
    plan = plan_of(graph)
    for name in ("r", "f"):
        plan.shapes.pop(name)  # type: ignore[attr-defined]
    assert find_groups(graph, plan, None) == ()


MODELS = {
    "depthwise": (lambda: chain("e = LeakyRelu(d)"), EVERYWHERE),
    "residual": (residual, EVERYWHERE),
    "attention": (attention, DYNAMIC),
    "post-norm": (post_norm, DYNAMIC),
    "gated": (gated, DYNAMIC),
}


@pytest.mark.parametrize("name", MODELS)
@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 2**16))
def test_no_scale_changes_the_function(name: str, seed: int) -> None:
    make, recipe = MODELS[name]
    graph, rng = make(), np.random.default_rng(seed)
    plan = plan_of(graph, recipe, **({"n_h": {"keep": "float"}} if "h" in graph.producer else {}))
    chosen = [(group, np.exp2(rng.uniform(-5, 5, group.count))) for group in find_groups(graph, plan, 1.0)]
    assert chosen
    scaled, after = scaled_graph(graph, plan, chosen)
    assert {node.name for node in scaled.nodes} == set(after.nodes)
    feeds = feeds_of(graph, seed=seed)
    for one, other in zip(run(graph, feeds), run(scaled, feeds), strict=True):
        np.testing.assert_allclose(other["y"], one["y"], rtol=2e-3, atol=2e-4 * float(np.abs(one["y"]).max()))


STEPS = ["Relu({})", "LeakyRelu({})", "Add({}, c)", "Mul({}, c)", "Abs({})", "MaxPool<kernel_shape=[2,2], pads=[0,0,1,1]>({})", "Conv<kernel_shape=[1,1]>({}, k, cb)"]  # fmt: skip


@settings(max_examples=30, deadline=None)
@given(
    steps=st.lists(st.tuples(st.sampled_from(STEPS), st.booleans()), min_size=1, max_size=6), seed=st.integers(0, 999)
)
def test_no_scale_changes_a_random_network(steps: list[tuple[str, bool]], seed: int) -> None:
    lines, last = ["v0 = Conv<kernel_shape=[1,1]>(x, k0)"], "v0"
    for n, (step, joined) in enumerate(steps, 1):
        lines.append(f"v{n} = {step.format(last)}" + (f"\n w{n} = Add(v{n}, v{n // 2})" if joined else ""))
        last = f"w{n}" if joined else f"v{n}"
    nodes = "\n".join([*lines, f"y = Conv<kernel_shape=[1,1]>({last}, k1)"])
    text = f"(float[1,4,5,5] x) => (float[1,3,5,5] y) {{ {nodes} }}"
    weights = {
        "k0": random(4, 4, 1, 1),
        "k": random(4, 4, 1, 1, seed=1),
        "k1": random(3, 4, 1, 1),
        "c": random(4, 1, 1),
        "cb": random(4),
    }
    graph = text_model(text, **weights)
    plan, rng = plan_of(graph), np.random.default_rng(seed)
    scaled, _ = scaled_graph(
        graph, plan, [(g, np.exp2(rng.uniform(-5, 5, g.count))) for g in find_groups(graph, plan, None)]
    )
    feeds = feeds_of(graph, 1, seed)
    one, other = run(graph, feeds)[0]["y"], run(scaled, feeds)[0]["y"]
    np.testing.assert_allclose(other, one, rtol=2e-3, atol=1e-4 * float(np.abs(one).max()) + 1e-6)
