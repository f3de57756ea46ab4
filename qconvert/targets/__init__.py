"""The targets: one file each, all of them data."""

from .arm_neon import ARM_NEON
from .costs import Cost, CostModel
from .formats import Format, Formats
from .kernels import Kernel, Kernels, Limit, WeightForm
from .model import Artefact, Floats, Placement, Rewrites, Runtime, SessionConfig, Target
from .tensorrt import TENSORRT
from .tflite_micro import TFLITE_MICRO
from .x86_vnni import X86_VNNI

TARGETS: dict[str, Target] = {target.name: target for target in (X86_VNNI, ARM_NEON, TENSORRT, TFLITE_MICRO)}

__all__ = [
    "TARGETS",
    "Artefact",
    "Cost",
    "CostModel",
    "Floats",
    "Format",
    "Formats",
    "Kernel",
    "Kernels",
    "Limit",
    "Placement",
    "Rewrites",
    "Runtime",
    "SessionConfig",
    "Target",
    "WeightForm",
]
