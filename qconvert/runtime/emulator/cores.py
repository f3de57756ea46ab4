"""The cores that can be emulated, and where the emulator lies."""

from __future__ import annotations

import os
import platform
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True, slots=True)
class Core:
    """A processor core of QEMU's user mode.

    Attributes:
        title: for people; machine: instruction set of the guest.
        cpu: value of QEMU's `-cpu`; part: CPU part number that the guest reads, which has to agree with it, as onnxruntime
            chooses its kernels by both.
    """

    name: str
    title: str
    machine: Literal["aarch64", "x86_64"]
    cpu: str
    part: int = 0


# `max` without SME: QEMU's emulation of SME gives wrong sums in KleidiAI's kernels.
CORES = {
    core.name: core
    for core in (
        Core("cortex-a53", "Cortex-A53 (no dot product)", "aarch64", "cortex-a53", 0xD03),
        Core("cortex-a76", "Cortex-A76 (dot product)", "aarch64", "cortex-a76", 0xD0B),
        Core("armv8-i8mm", "ARMv8 with i8mm", "aarch64", "max,sme=off,sve=off", 0xD4F),
        Core("haswell", "Haswell (AVX2, no VNNI)", "x86_64", "Haswell"),
    )
}
GROUPS = {"arm": ("cortex-a53", "cortex-a76", "armv8-i8mm"), "haswell": ("haswell",)}
ARM_HOSTS = ("aarch64", "arm64")


def folder() -> Path:
    """Where `qconvert emulator setup` puts everything: $QCONVERT_EMULATOR, else a folder of the user's cache."""
    given = os.environ.get("QCONVERT_EMULATOR")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(given) if given else cache / "qconvert" / "emulator"


def libraries(root: Path) -> str:
    """Folders of the emulator's own shared libraries, as a search path."""
    return os.pathsep.join(sorted({str(path.parent) for path in (root / "host").rglob("*.so.*")}))


def native(core: Core) -> bool:
    """Whether this host is of the core's own kind, so that nothing needs to be emulated."""
    return core.machine == "aarch64" and platform.machine() in ARM_HOSTS


def absent(core: Core) -> str | None:
    """Why the core cannot be emulated here; None if it can."""
    if not sys.platform.startswith("linux") or platform.machine() != "x86_64":
        return "emulation is for Linux on x86-64"
    root = folder()
    parts = [root / "host" / "usr" / "bin" / f"qemu-{core.machine}"]
    if core.machine == "aarch64":
        parts += [root / "cores" / core.name / "proc" / "cpuinfo", root / "site" / "onnxruntime"]
    missing = next((part for part in parts if not part.exists()), None)
    return None if missing is None else "it is not set up: run `qconvert emulator setup`"
