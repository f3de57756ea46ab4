"""Small models and datasets that stand in for those of which README and cookbook speak."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import onnx
from end_to_end_support import model, weight
from onnx import TensorProto, helper
from PIL import Image

from qconvert.runtime import Session

_COLOURS = {"cyan": (40, 200, 210), "orange": (230, 120, 20), "violet": (120, 40, 200), "green": (60, 180, 60)}


def coloured_images(folder: Path, side: int = 300, labelled: bool = True) -> None:
    """Noisy images of one colour each: `calib/` and `eval/`, each with a folder a class."""
    rng = np.random.default_rng(0)
    for part, count in (("calib", 4), ("eval", 4)):
        for name, colour in _COLOURS.items():
            target = folder / part / name if labelled else folder / part
            target.mkdir(parents=True, exist_ok=True)
            for n in range(count):
                small = np.clip(rng.normal(colour, 30, (12, 16, 3)), 0, 255).astype(np.uint8)
                Image.fromarray(small).resize((side, side * 3 // 4)).save(target / f"{name}{n}.png")


def classifier(path: Path, side: int, classes: int = len(_COLOURS)) -> None:
    """A CNN of three layers on normalized RGB images; class by colour, in the order of the sorted names."""
    rng = np.random.default_rng(1)
    tensors = {"w1": weight(rng, 16, 3, 5, 5), "w2": weight(rng, 32, 16, 3, 3), "w3": weight(rng, classes, 32)}
    nodes = [
        helper.make_node("Conv", ["x", "w1"], ["c1"], name="stem", strides=[4, 4]),
        helper.make_node("Relu", ["c1"], ["r1"], name="stem_relu"),
        helper.make_node("Conv", ["r1", "w2"], ["c2"], name="body", strides=[2, 2]),
        helper.make_node("Relu", ["c2"], ["r2"], name="body_relu"),
        helper.make_node("GlobalAveragePool", ["r2"], ["p"], name="pool"),
        helper.make_node("Flatten", ["p"], ["f"], name="flatten"),
        helper.make_node("Gemm", ["f", "w3"], ["y"], name="head", transB=1),
    ]
    found = model(nodes, {"x": ("batch", 3, side, side)}, {"y": ("batch", classes)}, tensors)
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    pixels = [(np.array(_COLOURS[name]) / 255 - mean) / std for name in sorted(_COLOURS)]
    flat = np.stack([np.broadcast_to(p[:, None, None], (3, side, side)) for p in pixels]).astype(np.float32)
    tensors["w3"] = _readout(found, flat)
    onnx.save(model(nodes, {"x": ("batch", 3, side, side)}, {"y": ("batch", classes)}, tensors), path)


def _readout(found: onnx.ModelProto, inputs: np.ndarray) -> np.ndarray:
    """Weights of the last layer that give each of the inputs its own class."""
    body = onnx.ModelProto.FromString(found.SerializeToString())
    del body.graph.output[:]
    body.graph.output.append(helper.make_tensor_value_info("f", TensorProto.FLOAT, None))
    features = Session(body.SerializeToString()).run({"x": inputs})["f"]
    return np.linalg.lstsq(features, 10 * np.eye(len(inputs)), rcond=None)[0].T.astype(np.float32)


def detector(path: Path) -> None:
    """Two heads of different range over one body, joined by Concat."""
    rng = np.random.default_rng(2)
    tensors = {"w1": weight(rng, 16, 3, 5, 5) / 50, "w2": weight(rng, 16, 16, 3, 3), "w3": weight(rng, 8, 16, 1, 1), "w4": weight(rng, 4, 16, 1, 1)}  # fmt: skip
    nodes = [
        helper.make_node("Conv", ["images", "w1"], ["c1"], name="stem", strides=[8, 8]),
        helper.make_node("Relu", ["c1"], ["r1"], name="relu"),
        helper.make_node("Conv", ["r1", "w2"], ["c2"], name="body"),
        helper.make_node("Relu", ["c2"], ["r2"], name="relu2"),
        helper.make_node("Conv", ["r2", "w3"], ["boxes"], name="boxes"),
        helper.make_node("Conv", ["r2", "w4"], ["logits"], name="logits"),
        helper.make_node("Sigmoid", ["logits"], ["scores"], name="scores"),
        helper.make_node("Concat", ["boxes", "scores"], ["found"], name="join", axis=1),
    ]
    shape = (1, 12, 50, 50)
    onnx.save(model(nodes, {"images": (1, 3, 416, 416)}, {"found": shape}, tensors), path)


def encoder(path: Path, vocabulary: int = 64, width: int = 32) -> None:
    """Embedding, two matrix products with a residual, normalization."""
    rng = np.random.default_rng(3)
    tensors = {
        "table": weight(rng, vocabulary, width) * np.sqrt(width).astype(np.float32),
        "w1": weight(rng, width, 4 * width) / 2,
        "w2": weight(rng, 4 * width, width),
        "gamma": np.ones(width, np.float32),
        "beta": np.zeros(width, np.float32),
    }
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["e"], name="embedding"),
        helper.make_node("MatMul", ["e", "w1"], ["h"], name="up"),
        helper.make_node("Relu", ["h"], ["a"], name="act"),
        helper.make_node("MatMul", ["a", "w2"], ["d"], name="down"),
        helper.make_node("Add", ["e", "d"], ["s"], name="residual"),
        helper.make_node("LayerNormalization", ["s", "gamma", "beta"], ["y"], name="norm", axis=-1),
    ]
    found = model(nodes, {"input_ids": ("batch", "sequence")}, {"y": ("batch", "sequence", width)}, tensors)
    found.graph.input[0].type.tensor_type.elem_type = TensorProto.INT64
    onnx.save(found, path)


def sentences(folder: Path) -> None:
    """Token numbers, 32 a sentence."""
    rng = np.random.default_rng(4)
    for part in ("calib", "eval"):
        (folder / part).mkdir(parents=True)
        for n in range(4):
            np.savez(folder / part / f"{n}.npz", input_ids=rng.integers(0, 64, (4, 32)))


def keywords(folder: Path) -> None:
    """Feature maps [1, 16, 10] with labels."""
    rng = np.random.default_rng(5)
    for part in ("calib", "eval"):
        (folder / part).mkdir(parents=True)
        labels = np.arange(16) % 4
        noise = rng.normal(0, 0.3, (16, 1, 16, 10))
        np.savez(folder / part / "samples.npz", x=(noise + _patterns()[labels]).astype(np.float32), label=labels)


def _patterns() -> np.ndarray:
    return np.random.default_rng(6).standard_normal((4, 1, 16, 10))


def spotter(path: Path) -> None:
    """A convolution and a classifier fitted to the patterns of `keywords`."""
    rng = np.random.default_rng(7)
    tensors = {"w1": weight(rng, 8, 1, 3, 3), "w3": weight(rng, 4, 8 * 8 * 5)}
    nodes = [
        helper.make_node("Conv", ["x", "w1"], ["c"], name="conv1", pads=[1, 1, 1, 1], strides=[2, 2]),
        helper.make_node("Relu", ["c"], ["r"], name="relu"),
        helper.make_node("Flatten", ["r"], ["f"], name="flatten"),
        helper.make_node("Gemm", ["f", "w3"], ["y"], name="classifier", transB=1),
    ]
    shapes = ({"x": ("batch", 1, 16, 10)}, {"y": ("batch", 4)})
    tensors["w3"] = _readout(model(nodes, *shapes, tensors), _patterns().astype(np.float32))
    onnx.save(model(nodes, *shapes, tensors), path)


def foreign(path: Path) -> None:
    """What onnxruntime's own quantizer makes of `spotter`."""
    from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self._rows = iter(_patterns().astype(np.float32)[:, None])

        def get_next(self) -> dict[str, np.ndarray] | None:
            row = next(self._rows, None)
            return None if row is None else {"x": row}

    source = path.with_name("float-of-it.onnx")
    spotter(source)
    quantize_static(source, path, Reader(), per_channel=True, activation_type=QuantType.QUInt8)
    source.unlink()


def unlabelled(folder: Path) -> None:
    """Images without labels."""
    coloured_images(folder, labelled=False)


# Name in the text to what makes it; a name that ends with / is a folder.
STAND_INS: Mapping[str, Callable[[Path], None]] = {
    "model.onnx": spotter,
    "dataset/": keywords,
    "quantized.onnx": foreign,
    "resnet50.onnx": lambda path: classifier(path, 224),
    "imagenet/": coloured_images,
    "yolox.onnx": detector,
    "frames/": unlabelled,
    "bert.onnx": encoder,
    "sentences/": sentences,
    "kws.onnx": spotter,
    "keywords/": keywords,
}
