"""The targets: one file each, all of them data."""

from .arm_neon import ARM_NEON
from .model import Cost, CostModel, Format, Kernel, Limit, Session, Target, WeightForm
from .tensorrt import TENSORRT
from .tflite_micro import TFLITE_MICRO
from .x86_vnni import X86_VNNI

TARGETS: dict[str, Target] = {target.name: target for target in (X86_VNNI, ARM_NEON, TENSORRT, TFLITE_MICRO)}

__all__ = ["TARGETS", "Cost", "CostModel", "Format", "Kernel", "Limit", "Session", "Target", "WeightForm"]
