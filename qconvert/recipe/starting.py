"""A first recipe, fitted to a model and commented, for people to change."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING

from .dump import scalar

if TYPE_CHECKING:
    from ..graph import Graph, TensorType

SIZES = (("batch", 1), ("seq", 128), ("length", 128), ("height", 224), ("width", 224))
CHANNELS = (1, 3)


def starting_recipe(graph: Graph, target: str, model: str = "the model") -> str:
    """A commented recipe; lines that begin with `#` and no space are options that can be switched on by removing the `#`.

    Args:
        graph: the model.
        target: name of the target.
        model: how the comments call the model.
    """
    lines = [*_head(graph, target, model), *_shapes(graph), *_dataset(graph), *_calibration(), *_rules(graph), *_rest()]
    return "\n".join(lines) + "\n"


def _head(graph: Graph, target: str, model: str) -> Iterator[str]:
    yield f"# Recipe for {_comment(model)}. Every key may be left out; `qconvert recipe schema` describes them all."
    yield "# A line that begins with # and no space is an option: remove the # to switch it on."
    yield "version: 1"
    yield f"target: {scalar(target)}"
    yield ""
    yield "# Inputs of the model:"
    yield from (f"# - {_comment(name)}: {_comment(str(graph.type_of(name)))}" for name in graph.feeds)


def _shapes(graph: Graph) -> Iterator[str]:
    dims = symbolic(graph)
    if dims:
        yield "# Sizes to plan and time with, where the model leaves them open. These are guesses: set what you deploy with."
        yield "shapes:"
        yield from (f"  {scalar(name)}: {size}" for name, size in dims.items())
    yield ""


def symbolic(graph: Graph) -> dict[str, int]:
    """Symbolic dimensions of the inputs, each with a guess at its size."""
    found: dict[str, int] = {}
    for kind in map(graph.type_of, graph.feeds):
        for i, dim in enumerate(kind.shape or ()):
            if isinstance(dim, str):
                found.setdefault(dim, _guess(kind, i, dim.lower()))
    return found


def _guess(kind: TensorType, axis: int, name: str) -> int:
    by_name = next((size for word, size in SIZES if word in name), None)
    if axis == 0 or by_name:
        return by_name or 1
    tokens = kind.rank == 2 and (kind.dtype or "").startswith("int")
    return 128 if tokens else 224 if kind.rank == 4 else 1


def _dataset(graph: Graph) -> Iterator[str]:
    yield "dataset:"
    yield "  samples: 128  # calibration samples to use"
    yield '  #labels: labels.csv  # a .csv file (file,label), an array name, "folders" or "none"; by default found'
    images = {name: layout for name in graph.feeds if (layout := image_layout(graph.type_of(name)))}
    if images:
        yield f"  # {', '.join(map(_comment, images))} may hold images. Say how they were prepared in training:"
    if len(graph.feeds) == 1:
        options = [line for name, layout in images.items() for line in _preprocess(graph.type_of(name), layout)]
    else:
        each = [
            [f"  {scalar(n)}:", *(f"    {line}" for line in _preprocess(graph.type_of(n), la))]
            for n, la in images.items()
        ]
        options = ["inputs:", *(line for lines in each for line in lines)] if each else []
    yield from (f"  #{line}" for line in options)
    yield ""


def image_layout(kind: TensorType) -> str | None:
    """`nchw` or `nhwc` if a tensor can hold images, else None."""
    shape = kind.shape
    if shape is None or len(shape) != 4 or kind.dtype not in ("float32", "uint8", "float16"):
        return None
    if shape[1] in CHANNELS:
        return "nchw"
    return "nhwc" if shape[3] in CHANNELS else None


def _preprocess(kind: TensorType, layout: str) -> Iterator[str]:
    """What image models usually want; only the one who trained the model knows, so the caller comments it out."""
    shape = kind.shape or ()
    size, channels = (shape[2:4], shape[1]) if layout == "nchw" else (shape[1:3], shape[3])
    yield "preprocess:"
    if all(isinstance(d, int) for d in size):
        yield f"  resize: {{size: [{size[0]}, {size[1]}], mode: stretch, resampler: bilinear}}"
    yield f"  color: {'rgb' if channels == 3 else 'gray'}"
    yield "  scale: 0.00392156862745098  # 1/255: values 0..255 become 0..1"
    if channels == 3:
        yield "  mean: [0.485, 0.456, 0.406]  # of ImageNet, after scale"
        yield "  std: [0.229, 0.224, 0.225]"


def _calibration() -> Iterator[str]:
    yield "#calibration:"
    yield "#  method: mse  # how ranges of activations are found"
    yield ""


def _rules(graph: Graph) -> Iterator[str]:
    ends = weighted_ends(graph)
    yield "# Exceptions for nodes, tensors or regions; the last match wins."
    if ends:
        yield "# The first and the last layer with weights are the usual suspects when accuracy is lost:"
    names = f"name: [{', '.join(scalar(name) for name in ends)}]" if ends else "op: Softmax"
    yield "#rules:"
    yield f"#  - match: {{{names}}}"
    yield "#    set: {keep: float}"
    yield ""


def weighted_ends(graph: Graph) -> tuple[str, ...]:
    """Names of the first and the last node that multiplies with a constant weight."""
    from ..ops import Role, inputs_with, spec  # keeps the package light for those who only check a recipe

    names = [
        node.name
        for node in graph.nodes
        if (row := spec(node))
        and row.weighted
        and any(node.inputs[i] in graph.weights for i in inputs_with(node, Role.WEIGHT))
    ]
    return tuple(dict.fromkeys([*names[:1], *names[-1:]]))


def _rest() -> Iterator[str]:
    yield "# Limits that decide the exit code; a figure that is missing counts as failed."
    yield "#gates:"
    yield "#  metric_drop: 1%  # largest drop of the task metric against FP32"
    yield "#  speedup: 1.0  # smallest FP32 latency / quantized latency on this host"


def _comment(text: str) -> str:
    """Text of the model that cannot leave its comment."""
    return text if text.isprintable() else json.dumps(text)
