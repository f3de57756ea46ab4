"""qconvert: FP32 ONNX models to proven smaller and faster ones.

>>> import qconvert
>>> record = qconvert.convert("model.onnx", "out/", data="dataset/", target="x86-vnni")  # doctest: +SKIP
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .errors import Diagnostic, QConvertError
from .lazy import lazily

if TYPE_CHECKING:
    from .api import compare_models, convert, convert_targets, evaluate_models
    from .recipe import Recipe
    from .report import RunRecord
    from .report.comparison import Comparison
    from .report.evaluation import Evaluation
    from .report.targets import TargetsRecord
else:
    __getattr__ = lazily(
        __name__,
        {
            "api": "compare_models convert convert_targets evaluate_models",
            "recipe": "Recipe",
            "report": "RunRecord",
            "report.comparison": "Comparison",
            "report.evaluation": "Evaluation",
            "report.targets": "TargetsRecord",
        },
    )

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
