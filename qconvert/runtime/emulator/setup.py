"""Sets the emulator up in a folder of its own, from the distribution's and Python's packages, without root.

Nothing is installed into the system: Debian's tools download and unpack packages into the folder (QEMU with its libraries
for this host, Python with its own for the emulated ARM), and pip fetches onnxruntime and NumPy for ARM.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from ...errors import fail
from .cores import CORES, Core, folder, libraries

_TOOLS = ("apt-get", "apt-cache", "dpkg-deb")
_GUEST = re.compile(r"python3\.\d+(-minimal)?|libpython3.*|lib.*|zlib1g")
_NOT_HOST = re.compile(r"libc6|libc-bin|gcc-\d+-base|libgcc-s1")  # those of the running system have to be used
_PLATFORMS = ("manylinux_2_28_aarch64", "manylinux_2_27_aarch64", "manylinux2014_aarch64")
_APIS = range(1, 6)  # versions of QEMU's plugin interface; what is used of it is the same in all
_FAKES = ("possible", "present", "online")


@dataclass(frozen=True, slots=True)
class Apt:
    """Debian's package tools with lists of their own, for one architecture."""

    folder: Path
    options: tuple[str, ...]

    @classmethod
    def of(cls, folder: Path, architecture: str | None) -> Apt:
        """Tools for an architecture; None for that of this host."""
        (folder / "lists" / "partial").mkdir(parents=True, exist_ok=True)
        settings = [f"Dir::State::Lists={folder / 'lists'}", "Dir::State::status=/dev/null", f"Dir::Cache={folder}"]
        settings += ["Debug::NoLocking=1", "APT::Sandbox::User=root"]
        if architecture:
            settings += [f"APT::Architecture={architecture}", f"APT::Architectures={architecture}"]
        return cls(folder, tuple(part for setting in settings for part in ("-o", setting)))

    def update(self) -> None:
        """Fetch the lists of packages."""
        _command(["apt-get", *self.options, "update"], self.folder)

    def closure(self, packages: Sequence[str]) -> list[str]:
        """The packages with all that they depend on."""
        kinds = ("recommends", "suggests", "conflicts", "breaks", "replaces", "enhances")
        text = _command(
            ["apt-cache", *self.options, "depends", "--recurse", *(f"--no-{kind}" for kind in kinds), *packages],
            self.folder,
        )
        return sorted({line.strip() for line in text.splitlines() if re.match(r"\w", line)})

    def unpack(self, packages: Iterable[str], target: Path) -> None:
        """Download packages and unpack them into a folder."""
        target.mkdir(parents=True, exist_ok=True)
        _command(["apt-get", *self.options, "download", *packages], self.folder)
        for package in sorted(self.folder.glob("*.deb")):
            _command(["dpkg-deb", "-x", str(package), str(target)], self.folder)
            package.unlink()


def plan() -> list[str]:
    """What the set-up will do, for people; nothing is done yet."""
    return [
        f"everything goes into {folder()}, about 400 MB; nothing into the system, and no root is needed",
        "qemu-user of this distribution with its libraries, by apt-get download",
        "Python of this distribution for ARM with its libraries, by apt-get download",
        f"onnxruntime {version('onnxruntime')} and numpy {version('numpy')} for ARM, by pip download",
        "a small plugin that counts instructions, compiled by cc"
        if shutil.which("cc")
        else "no plugin that counts instructions: there is no C compiler (`cc`)",
    ]


def set_up(say: Callable[[str], None]) -> Path:
    """Do what `plan` says, beside the folder, which is renamed into place at the end.

    Raises:
        QConvertError: T002 with the command that failed.
    """
    for tool in _TOOLS:
        if shutil.which(tool) is None:
            raise fail(
                "T002",
                f"`{tool}` is not there: the set-up uses Debian's package tools",
                None,
                "use a Debian or Ubuntu machine or container, or an ARM host, where nothing is emulated",
            )
    root, work = folder(), folder().with_name(folder().name + ".partial")
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    try:
        say("QEMU for this host")
        _host(Apt.of(work / "apt-host", None), work / "host")
        say("Python for ARM")
        minor = _guest(Apt.of(work / "apt-guest", "arm64"), work / "guest")
        say("onnxruntime and NumPy for ARM")
        _site(work / "site", minor)
        say("faked system files, one set a core")
        for core in (core for core in CORES.values() if core.machine == "aarch64"):
            _core(core, work)
        say("the counting plugin")
        _plugin(work)
        for name in ("apt-host", "apt-guest"):
            shutil.rmtree(work / name)
        shutil.rmtree(root, ignore_errors=True)
        work.rename(root)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return root


def _host(apt: Apt, target: Path) -> None:
    apt.update()
    apt.unpack([name for name in apt.closure(["qemu-user"]) if not _NOT_HOST.fullmatch(name)], target)


def _guest(apt: Apt, target: Path) -> str:
    """Unpack Python for the guest; returns its version, such as "3.11"."""
    apt.update()
    found = [name for name in apt.closure(["python3", "libstdc++6", "zlib1g"]) if _GUEST.fullmatch(name)]
    apt.unpack([name for name in found if "perl" not in name], target)
    if not (target / "lib").exists():  # distributions with a merged /usr
        (target / "lib").symlink_to("usr/lib")
    return next(match[1] for name in found if (match := re.fullmatch(r"python(3\.\d+)", name)))


def _site(target: Path, minor: str) -> None:
    wheels = target.with_name("wheels")
    platforms = [part for name in _PLATFORMS for part in ("--platform", name)]
    wanted = [f"{name}=={version(name)}" for name in ("onnxruntime", "numpy")]
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps", *platforms]
    _command([*pip, "--python-version", minor, "--only-binary=:all:", "--dest", str(wheels), *wanted], target.parent)
    for wheel in wheels.glob("*.whl"):
        shutil.unpack_archive(wheel, target, "zip")
    shutil.rmtree(wheels)


def _core(core: Core, work: Path) -> None:
    """What the guest sees as its root: its own files, and the system files by which libraries recognize a processor."""
    root = work / "cores" / core.name
    system = root / "sys" / "devices" / "system" / "cpu"
    system.mkdir(parents=True)
    for name in _FAKES:
        (system / name).write_text("0\n", encoding="ascii")
    (root / "proc").mkdir()
    (root / "proc" / "cpuinfo").write_text(
        "processor\t: 0\nFeatures\t: fp asimd aes crc32 atomics asimddp\nCPU implementer\t: 0x41\nCPU architecture: 8\n"
        f"CPU variant\t: 0x0\nCPU part\t: {core.part:#05x}\nCPU revision\t: 1\n\n",
        encoding="ascii",
    )
    for name in ("usr", "lib", "etc"):
        (root / name).symlink_to(Path("..") / ".." / "guest" / name)


def _plugin(work: Path) -> None:
    if shutil.which("cc") is not None:
        source = Path(__file__).with_name("count.c")
        for version_of_api in _APIS:
            flags = ["-O2", "-shared", "-fPIC", f"-DAPI={version_of_api}"]
            _command(["cc", *flags, "-o", str(work / "count.so"), str(source)], work)
            if _loads(work):
                return
        (work / "count.so").unlink()


def _loads(work: Path) -> bool:
    """Whether this QEMU takes the plugin: it wants a version of its interface between two that it does not tell."""
    core = next(core for core in CORES.values() if core.machine == "aarch64")
    plugin = f"{work / 'count.so'},out={os.devnull},mark=1"
    loader = next((work / "guest" / "lib").rglob("ld-linux-aarch64.so.1"))
    qemu = [str(work / "host" / "usr" / "bin" / "qemu-aarch64"), "-U", "LD_LIBRARY_PATH", "-plugin", plugin]
    command = [*qemu, "-L", str(work / "cores" / core.name), str(loader), "--version"]
    environment = {**os.environ, "LD_LIBRARY_PATH": libraries(work)}
    return subprocess.run(command, env=environment, capture_output=True, check=False).returncode == 0


def _command(command: list[str], cwd: Path) -> str:
    done = subprocess.run(
        command, cwd=cwd, env={**os.environ, "LC_ALL": "C"}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
        raise fail("T002", f"`{' '.join(command[:1])}` failed: {last[:300]}", None, "is there a network?")
    return done.stdout
