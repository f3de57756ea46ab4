"""Versions of the packages on which results depend; a result of others is not taken over. Loads the standard library only."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version

COMPUTES = ("onnxruntime", "onnx", "numpy", "ml-dtypes", "networkx", "flatbuffers", "pillow")
INTERPRETERS = ("ai-edge-litert", "tflite-micro")


def installed(names: Iterable[str]) -> dict[str, str]:
    """Versions of those that are installed."""
    found: dict[str, str] = {}
    for name in names:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found
