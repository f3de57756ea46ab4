"""The way of a small model to a .tflite file and through both interpreters, for every test of this folder."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from qconvert.calibrate import Sketcher, activation_params, collect, weight_params
from qconvert.data import Sample
from qconvert.emit.tflite import Artefact, Options, emit_tflite
from qconvert.evaluate import Comparison
from qconvert.graph import Array
from qconvert.pipeline.events import Stages
from qconvert.pipeline.planning import Planned, plan_of
from qconvert.recipe import Recipe
from qconvert.runtime import Feed, Session
from qconvert.runtime import Options as Opening
from qconvert.runtime.tflite import Interpreter, available
from qconvert.verify.tflite_audit import audit
from qconvert.verify.tflite_run import TfliteSession, decoded

interpreters = pytest.mark.skipif(
    not (available("tflm") and available("litert")),
    reason="the interpreters are not installed: pip install 'qconvert[tflite]'",
)
MODELS = Path(__file__).parents[3] / "shared" / "models"
PLAIN = Recipe(target="tflite-micro", calibration={"method": "min-max", "weights": "min-max"})


def onnx_model(
    nodes: Sequence[onnx.NodeProto],
    inputs: Mapping[str, Sequence[int | str]],
    outputs: Sequence[str],
    weights: Mapping[str, Array] | None = None,
    opset: int = 17,
    indices: Sequence[str] = (),
) -> onnx.ModelProto:
    """A model of standard operators; types of its outputs are inferred. `indices`: values of type int64."""
    kinds = dict.fromkeys(indices, onnx.TensorProto.INT64)
    feeds = [
        helper.make_tensor_value_info(name, kinds.get(name, onnx.TensorProto.FLOAT), list(shape))
        for name, shape in inputs.items()
    ]
    ends = [helper.make_tensor_value_info(name, kinds.get(name, onnx.TensorProto.FLOAT), None) for name in outputs]
    held = [numpy_helper.from_array(np.asarray(array), name) for name, array in (weights or {}).items()]
    model = helper.make_model(
        helper.make_graph(list(nodes), "g", feeds, ends, held),
        opset_imports=[helper.make_opsetid("", opset)],
        ir_version=10,
    )
    return onnx.shape_inference.infer_shapes(model)


def random(*shape: int, seed: int = 0, spread: float = 1.0, offset: float = 0.0) -> Array:
    return (np.random.default_rng(seed + sum(shape)).standard_normal(shape) * spread + offset).astype(np.float32)


def feeds_of(model: onnx.ModelProto, count: int = 6, spread: float = 1.0, offset: float = 0.0) -> list[Feed]:
    shapes = {i.name: [d.dim_value or 1 for d in i.type.tensor_type.shape.dim] for i in model.graph.input}
    return [
        {
            name: random(*shape, seed=100 * n + k, spread=spread, offset=offset)
            for k, (name, shape) in enumerate(shapes.items())
        }
        for n in range(count)
    ]


@dataclass
class Converted:
    """A finished conversion with what both interpreters make of it."""

    planned: Planned
    artefact: Artefact
    db: dict[str, float]
    codes: dict[str, list[list[Array]]]

    @property
    def ops(self) -> list[str]:
        return [op.name for op in self.artefact.file.ops]

    @property
    def largest_gap(self) -> int:
        pairs = [
            (a, b)
            for x, y in zip(self.codes["tflm"], self.codes["litert"], strict=True)
            for a, b in zip(x, y, strict=True)
        ]
        return max(int(np.abs(a.astype(np.int64) - b.astype(np.int64)).max(initial=0)) for a, b in pairs)

    @property
    def worst_db(self) -> float:
        return min(self.db.values())


def artefact_of(
    model: onnx.ModelProto, folder: Path, feeds: Sequence[Feed], recipe: Recipe = PLAIN, **options: Any
) -> tuple[Planned, Artefact]:
    """Plan, calibrate and emit."""
    path = folder / "model.onnx"
    onnx.save(model, path)
    planned = plan_of(path, recipe, Stages())
    observers = {name: (Sketcher(),) for name in planned.plan.taps}
    collect(planned.graph, [Sample(str(n), feed) for n, feed in enumerate(feeds)], observers)
    activations = activation_params(
        planned.plan, {name: watching[0].result() for name, watching in observers.items()}, recipe.calibration
    )
    weights = weight_params(planned.graph, planned.plan, activations, recipe.calibration)
    return planned, emit_tflite(planned.graph, planned.plan, activations, weights, Options(**options))


@cache
def shared(engine: str) -> Interpreter:
    """One child process for all tests of a worker."""
    return Interpreter(engine)


def convert(
    model: onnx.ModelProto,
    folder: Path,
    feeds: Sequence[Feed] | None = None,
    recipe: Recipe = PLAIN,
    evaluate: Sequence[Feed] | None = None,
    **options: Any,
) -> Converted:
    """Convert, audit, and run in both interpreters."""
    feeds = feeds or feeds_of(model)
    planned, artefact = artefact_of(model, folder, feeds, recipe, **options)
    found = audit(artefact.data)
    assert not found, "\n".join(map(str, found))
    reference = Session(folder / "model.onnx", Opening(optimize=False))
    db: dict[str, float] = {}
    codes: dict[str, list[list[Array]]] = {}
    for engine in ("tflm", "litert"):
        compared = Comparison()
        with TfliteSession(artefact, engine, interpreter=shared(engine)) as session:
            codes[engine] = [session.codes(feed) for feed in evaluate or feeds]
        for feed, outputs in zip(evaluate or feeds, codes[engine], strict=True):
            compared.add(
                reference.run(feed),
                {b.name: decoded(b, array) for b, array in zip(artefact.outputs, outputs, strict=True)},
            )
        db[engine] = compared.result("evaluation").sqnr_db
    return Converted(planned, artefact, db, codes)
