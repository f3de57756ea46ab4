"""Other cores than this host's, by QEMU's user mode: their kernels' outputs, and instruction counts."""

from .cores import CORES, GROUPS, Core, absent, folder, native
from .run import Emulated, emulate

__all__ = ["CORES", "GROUPS", "Core", "Emulated", "absent", "emulate", "folder", "native"]
