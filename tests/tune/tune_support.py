"""A small model in which one layer is poisoned: a channel that dwarfs the others, and that the next layer all but ignores."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from end_to_end_support import model, weight
from onnx import helper

SIDE = 8


def poisoned_model(factor: float = 300.0) -> onnx.ModelProto:
    """Four convolutions; channel 0 after `poisoned` is `factor` times larger than the others."""
    rng = np.random.default_rng(11)
    tensors = {f"w{i}": weight(rng, 16, 16 if i else 3, 3, 3) for i in range(4)} | {"wc": weight(rng, 4, 16)}
    tensors["w1"][0] *= factor
    tensors["w2"][:, 0] /= factor
    names = ("first", "poisoned", "reader", "last")
    nodes, value = [], "x"
    for i, name in enumerate(names):
        nodes.append(helper.make_node("Conv", [value, f"w{i}"], [f"c{i}"], name=name, pads=[1, 1, 1, 1]))
        nodes.append(helper.make_node("Relu", [f"c{i}"], [f"r{i}"], name=f"relu_{name}"))
        value = f"r{i}"
    nodes += [
        helper.make_node("GlobalAveragePool", [value], ["p"], name="pool"),
        helper.make_node("Flatten", ["p"], ["f"], name="flatten"),
        helper.make_node("Gemm", ["f", "wc"], ["y"], name="classifier", transB=1),
    ]
    return model(nodes, {"x": ("batch", 3, SIDE, SIDE)}, {"y": ("batch", 4)}, tensors)


def make_case(folder: Path, parts: tuple[str, ...] = ("calib", "eval")) -> tuple[Path, Path, Path]:
    """Model, recipe and dataset folder; without parts the dataset is one folder."""
    path, recipe, data = folder / "model.onnx", folder / "recipe.yaml", folder / "data"
    onnx.save(poisoned_model(), path)
    recipe.write_text(
        "version: 1\nextends: x86-vnni\nplacement: everywhere\nalgorithms: [ranges]\nevaluation: {latency: false, layers: false}\n"
    )
    rng = np.random.default_rng(2)
    for part in parts or ("",):
        (data / part).mkdir(parents=True, exist_ok=True)
        np.savez(data / part / "samples.npz", x=rng.standard_normal((16, 3, SIDE, SIDE)).astype(np.float32))
    return path, recipe, data
