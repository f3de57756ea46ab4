"""What ONNX's operator schemas allow: which element types an operator takes and gives."""

from __future__ import annotations

from functools import lru_cache

import onnx

from .model import Node

_NAMES = {"float32": "tensor(float)", "float64": "tensor(double)"}


@lru_cache(maxsize=1024)
def _allowed(op: str, opset: int) -> tuple[tuple[frozenset[str], ...], tuple[frozenset[str], ...]] | None:
    """Type names allowed for each formal input and output; None for an operator that ONNX does not know."""
    try:
        schema = onnx.defs.get_schema(op, opset, "")
    except onnx.defs.SchemaError:
        return None
    return (
        tuple(frozenset(formal.types) for formal in schema.inputs),
        tuple(frozenset(formal.types) for formal in schema.outputs),
    )


def takes(node: Node, opset: int, index: int, dtype: str) -> bool:
    """Whether input `index` may hold tensors of an element type."""
    found = _allowed(node.op, opset) if node.domain == "" else None
    return found is not None and _has(found[0], index, dtype)


def gives(node: Node, opset: int, index: int, dtype: str) -> bool:
    """Whether output `index` may hold tensors of an element type."""
    found = _allowed(node.op, opset) if node.domain == "" else None
    return found is not None and _has(found[1], index, dtype)


def only_tensors(node: Node, opset: int) -> bool:
    """Whether the operator deals in tensors alone: no sequences, optional values or bodies."""
    found = _allowed(node.op, opset) if node.domain == "" else None
    if found is None or node.bodies:
        return False
    used = [*_used(found[0], node.inputs), *_used(found[1], node.outputs)]
    return all(any(name.startswith("tensor(") for name in allowed) for allowed in used)


def _used(formals: tuple[frozenset[str], ...], names: tuple[str, ...]) -> list[frozenset[str]]:
    return [formals[min(i, len(formals) - 1)] for i, name in enumerate(names) if name and formals]


def _has(formals: tuple[frozenset[str], ...], index: int, dtype: str) -> bool:
    return bool(formals) and _NAMES.get(dtype, f"tensor({dtype})") in formals[min(index, len(formals) - 1)]
