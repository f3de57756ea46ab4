"""qconvert: FP32 ONNX models to proven smaller and faster ones.

>>> import qconvert
>>> record = qconvert.convert("model.onnx", "out/", data="dataset/", target="x86-vnni")  # doctest: +SKIP
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .errors import Diagnostic, QConvertError

if TYPE_CHECKING:
    from .api import compare_models, convert, convert_targets, evaluate_models
    from .recipe import Recipe
    from .report import RunRecord
    from .report.comparison import Comparison
    from .report.evaluation import Evaluation
    from .report.targets import TargetsRecord

__version__ = "0.1.0"
__all__ = [
    "Comparison",
    "Diagnostic",
    "Evaluation",
    "QConvertError",
    "Recipe",
    "RunRecord",
    "TargetsRecord",
    "__version__",
    "compare_models",
    "convert",
    "convert_targets",
    "evaluate_models",
]

_LAZY = {
    "convert": "api",
    "convert_targets": "api",
    "compare_models": "api",
    "evaluate_models": "api",
    "Comparison": "report.comparison",
    "Evaluation": "report.evaluation",
    "Recipe": "recipe",
    "RunRecord": "report",
    "TargetsRecord": "report.targets",
}


def __getattr__(name: str) -> Any:
    """Load the heavy parts only when they are used: `qconvert --help` needs none of them."""
    if name in _LAZY:
        from importlib import import_module

        return getattr(import_module(f".{_LAZY[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
