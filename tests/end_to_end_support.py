"""Small models, datasets and a way to run the command line in this process, for tests of whole runs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from qconvert.cli.run import run

REPO = Path(__file__).parents[1]
SAMPLES = REPO / "sample_models"
SIDE = 8


@dataclass(frozen=True)
class Ran:
    """Exit code and both streams of one command."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The JSON document on standard output; anything else there, or NaN in it, fails."""
        return strict_json(self.out)


def strict_json(text: str) -> Any:
    """Decode JSON as strict parsers do: NaN and Infinity are refused."""

    def refuse(token: str) -> None:
        raise AssertionError(f"not JSON: {token}")

    return json.loads(text, parse_constant=refuse)


class Cli:
    """Runs commands in this process."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def __call__(self, *arguments: object) -> Ran:
        self._capsys.readouterr()
        code = run([str(a) for a in arguments])
        found = self._capsys.readouterr()
        return Ran(code, found.out, found.err)


def weight(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """Random weights that keep the variance."""
    return (rng.standard_normal(shape) / np.sqrt(max(np.prod(shape[1:]), 1))).astype(np.float32)


def conv_model(opset: int = 13, batch: int | str = "batch", channels: int = 3, prefix: str = "") -> onnx.ModelProto:
    """Two convolutions, pool and classifier: input `x` [batch, channels, 8, 8], output `y` [batch, 4]."""
    rng = np.random.default_rng(7)
    tensors = {
        "w1": weight(rng, 16, channels, 3, 3),
        "b1": weight(rng, 16),
        "w2": weight(rng, 16, 16, 3, 3),
        "w3": weight(rng, 4, 16),
        "b3": weight(rng, 4),
    }
    nodes = [
        helper.make_node("Conv", ["x", "w1", "b1"], ["c1"], name=f"{prefix}conv1", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c1"], ["r1"], name=f"{prefix}relu1"),
        helper.make_node("Conv", ["r1", "w2"], ["c2"], name=f"{prefix}conv2", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c2"], ["r2"], name=f"{prefix}relu2"),
        helper.make_node("GlobalAveragePool", ["r2"], ["p"], name=f"{prefix}pool"),
        helper.make_node("Flatten", ["p"], ["f"], name=f"{prefix}flatten"),
        helper.make_node("Gemm", ["f", "w3", "b3"], ["y"], name=f"{prefix}classifier", transB=1),
    ]
    return model(nodes, {"x": (batch, channels, SIDE, SIDE)}, {"y": (batch, 4)}, tensors, opset)


def model(
    nodes: Sequence[onnx.NodeProto],
    inputs: dict[str, Sequence[int | str | None] | None],
    outputs: dict[str, Sequence[int | str | None] | None],
    weights: dict[str, np.ndarray] | None = None,
    opset: int = 17,
    dtype: int = TensorProto.FLOAT,
) -> onnx.ModelProto:
    """A model from its parts."""
    graph = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info(n, dtype, s) for n, s in inputs.items()],
        [helper.make_tensor_value_info(n, dtype, s) for n, s in outputs.items()],
        [numpy_helper.from_array(w, n) for n, w in (weights or {}).items()],
    )
    domains = {node.domain for node in nodes if node.domain}
    return helper.make_model(
        graph,
        ir_version=8,
        opset_imports=[helper.make_opsetid("", opset), *(helper.make_opsetid(d, 1) for d in sorted(domains))],
    )


def write_data(
    folder: Path, shape: Sequence[int] = (3, SIDE, SIDE), rows: int = 16, name: str = "x", files: int = 2
) -> Path:
    """A dataset folder of `rows` samples, spread evenly over .npz files."""
    folder.mkdir(parents=True, exist_ok=True)
    values = np.random.default_rng(1).standard_normal((rows, *shape)).astype(np.float32)
    for number, part in enumerate(np.array_split(values, files)):
        np.savez(folder / f"part{number:03d}.npz", **{name: part})
    return folder


def hashes(folder: Path) -> dict[str, str]:
    """Content of every file below a folder."""
    return {
        str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(folder.rglob("*"))
        if p.is_file()
    }


@dataclass(frozen=True)
class Place:
    """A folder with a good model and data, and an output folder that does not exist yet."""

    root: Path

    @property
    def model(self) -> Path:
        return self.root / "in" / "model.onnx"

    @property
    def data(self) -> Path:
        return self.root / "data"

    @property
    def output(self) -> Path:
        return self.root / "out" / "m.onnx"

    def save(self, proto: onnx.ModelProto, name: str = "model.onnx") -> Path:
        """Put another model in the place of the good one."""
        path = self.root / "in" / name
        onnx.save(proto, path)
        return path

    def convert(
        self, *extra: object, model: Path | None = None, data: Path | None = None, output: Path | str | None = None
    ) -> list[object]:
        """Arguments of a conversion, a fast one: no algorithms, and integers also where so small a model does not gain by them."""
        base = ["convert", model or self.model, "-d", data or self.data, "-o", output or self.output]
        return [
            *base,
            "--set",
            "placement=everywhere",
            "--set",
            "algorithms=none",
            *([] if "-t" in extra or "-r" in extra else ["-t", "x86-vnni"]),
            *extra,
        ]

    def leftovers(self) -> list[str]:
        """Whatever a run may have left beside its results."""
        return [str(p) for p in self.root.rglob("*") if p.name.startswith(".qconvert") or p.suffix == ".tmp"]


def make_place(root: Path) -> Place:
    """A place with the small convolutional model and sixteen samples."""
    place = Place(root)
    place.model.parent.mkdir(parents=True)
    onnx.save(conv_model(), place.model)
    write_data(place.data)
    return place


Edit = Callable[[onnx.ModelProto], None]
