"""Which ONNX Resize calls a kernel of TensorFlow Lite repeats exactly, found by comparing the positions that both read.

Sources: ONNX operator Resize; `reference/resize_nearest_neighbor.h` and `reference/resize_bilinear.h` of TensorFlow Lite.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..graph import Array, Node


@dataclass(frozen=True, slots=True)
class Resize:
    """How the kernel is called."""

    bilinear: bool
    align_corners: bool
    half_pixel: bool


def resize_fault(node: Node, size: tuple[int, ...], out: tuple[int, ...]) -> str:
    """Why no kernel repeats the call, "" if one does."""
    if size[:2] != out[:2]:
        return "it changes batch or channels"
    return (
        ""
        if resize_call(node, size, out)
        else f"mode `{_mode(node)}` with `{_where(node)}` and `{_rounding(node)}` reads other positions than the kernels do"
    )


def resize_call(node: Node, size: tuple[int, ...], out: tuple[int, ...]) -> Resize | None:
    """The call that reads the same positions along both axes, None if there is none."""
    if _mode(node) not in ("nearest", "linear") or node.attr("antialias", 0) or _where(node) not in _COORDINATES:
        return None
    bilinear = _mode(node) == "linear"
    calls = (Resize(bilinear, align, half) for align, half in ((False, True), (False, False), (True, False)))
    pairs = [(size[axis], out[axis]) for axis in (2, 3)]
    return next((c for c in calls if all(np.allclose(_read(node, *p), _kernel(c, *p), atol=1e-4) for p in pairs)), None)


def _mode(node: Node) -> str:
    return str(node.attr("mode", "nearest"))


def _where(node: Node) -> str:
    return str(node.attr("coordinate_transformation_mode", "half_pixel"))


def _rounding(node: Node) -> str:
    return str(node.attr("nearest_mode", "round_prefer_floor"))


_COORDINATES: dict[str, Callable[[Array, int, int], Array]] = {
    "half_pixel": lambda x, size, out: (x + 0.5) * size / out - 0.5,
    "pytorch_half_pixel": lambda x, size, out: (x + 0.5) * size / out - 0.5 if out > 1 else x * 0,
    "align_corners": lambda x, size, out: x * (size - 1) / (out - 1) if out > 1 else x * 0,
    "asymmetric": lambda x, size, out: x * size / out,
}
_ROUNDINGS: dict[str, Callable[[Array], Array]] = {
    "round_prefer_floor": lambda x: np.ceil(x - 0.5),
    "round_prefer_ceil": lambda x: np.floor(x + 0.5),
    "floor": np.floor,
    "ceil": np.ceil,
}


def _read(node: Node, size: int, out: int) -> Array:
    """Positions that ONNX reads along one axis."""
    x = _COORDINATES[_where(node)](np.arange(out, dtype=np.float64), size, out)
    return np.asarray(np.clip(x if _mode(node) == "linear" else _ROUNDINGS[_rounding(node)](x), 0, size - 1))


def _kernel(call: Resize, size: int, out: int) -> Array:
    """Positions that the kernel reads along one axis."""
    x = np.arange(out, dtype=np.float64)
    scale = (size - 1) / (out - 1) if call.align_corners and out > 1 else size / out
    at = (x + 0.5) * scale - 0.5 if call.half_pixel and call.bilinear else (x + 0.5 * call.half_pixel) * scale
    if not call.bilinear:
        at = np.floor(at + 0.5) if call.align_corners else np.floor(at)
    return np.asarray(np.clip(at, 0, size - 1))
