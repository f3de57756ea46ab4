"""What only a real process shows: what is imported, pipes, colours, signals, limits, and equal bytes from another one."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from end_to_end_support import SAMPLES, Place, hashes, strict_json

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals, pipes and limits of POSIX")
RESNET = SAMPLES / "digits_resnet"
SMALL = ("--no-evaluate", "--set", "dataset.samples=8")


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "qconvert", *map(str, arguments)]


def environment(place: Place | None = None, **more: str) -> Mapping[str, str]:
    """This process's variables without those that change the output or hide what qconvert does by itself."""
    hidden = {"ORT_DISABLE_TELEMETRY", "NO_COLOR", "FORCE_COLOR", "CI", "TERM", "COLUMNS"}
    kept = {name: value for name, value in os.environ.items() if name not in hidden}
    return {**kept, **({"TMPDIR": str(place.root.parent / "tmp")} if place else {}), **more}


def process(*arguments: object, place: Place | None = None, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*arguments), capture_output=True, text=True, env=environment(place, **more), timeout=60, check=False
    )


def loaded(code: str) -> set[str]:
    """Modules that are loaded after running some code."""
    show = "import sys; print(' '.join(m for m in sys.modules), file=sys.__stderr__)"
    ran = subprocess.run(
        [sys.executable, "-c", f"{code}\n{show}"],
        capture_output=True,
        text=True,
        env=environment(),
        check=True,
        timeout=60,
    )
    return set(ran.stderr.splitlines()[-1].split())


def imported(code: str) -> set[str]:
    """Packages that are loaded after running some code."""
    return {name.partition(".")[0] for name in loaded(code)}


@pytest.mark.parametrize(
    ("arguments", "unwanted"),
    [
        (["--help"], {"numpy", "onnx", "onnxruntime", "pydantic", "PIL", "networkx", "rich"}),
        (["convert", "--help"], {"numpy", "onnx", "onnxruntime", "PIL", "networkx", "rich"}),
        (["--version"], {"numpy", "onnx", "onnxruntime", "pydantic", "PIL", "networkx", "rich"}),
        (["explain"], {"numpy", "onnx", "onnxruntime"}),
        (["recipe", "check", str(RESNET / "recipe.yaml")], {"onnxruntime"}),
        (["recipe", "schema"], {"onnxruntime"}),
    ],
    ids=lambda value: " ".join(Path(v).name for v in value) if isinstance(value, list) else "",
)
def test_light_commands_import_nothing_heavy(arguments: list[str], unwanted: set[str]) -> None:
    assert not imported(f"from qconvert.cli.run import run; assert run({arguments!r}) == 0") & unwanted


ALGORITHMS = {"qconvert.optimize.table", "qconvert.optimize.reconstruct", "qconvert.optimize.sensitivity"}
PAGES = {"qconvert.report.html", "qconvert.report.charts", "qconvert.report.junit", "jinja2"}
OTHERS = {"qconvert.tune", "qconvert.pipeline.several", "qconvert.pipeline.comparison", "scipy", "sympy"}


def test_commands_load_what_they_use(place: Place) -> None:
    """A command starts in the time that its own modules take."""

    def modules(*arguments: object) -> set[str]:
        listed = [str(a) for a in arguments]
        return loaded(f"from qconvert.cli.run import run; assert run({listed!r}) == 0")

    record = place.output.with_name("m.report.json")
    assert not modules(*place.convert(*SMALL)) & {*ALGORITHMS, *PAGES, *OTHERS}
    assert not modules("plan", place.model, "-t", "x86-vnni") & {*ALGORITHMS, *PAGES, *OTHERS, "onnxruntime"}
    assert not modules("inspect", place.model) & {*ALGORITHMS, *PAGES, *OTHERS, "onnxruntime"}
    assert not modules("check", place.output, "-t", "x86-vnni") & {*ALGORITHMS, *PAGES, *OTHERS, "networkx"}
    assert not modules("report", record) & {*ALGORITHMS, *PAGES, *OTHERS, "numpy", "onnx", "onnxruntime"}
    assert not modules("compare", record, record) & {*ALGORITHMS, "jinja2", "onnxruntime", "networkx"}


def test_import_of_the_package_is_light() -> None:
    assert not imported("import qconvert") & {"numpy", "onnx", "onnxruntime", "typer", "rich"}


def test_reader_that_stops_early(place: Place) -> None:
    """`qconvert ... | head -1`: the work is finished, and the exit code is its own."""
    for arguments in (["targets"], ["explain"], place.convert(*SMALL)):
        reading, writing = os.pipe()
        os.close(reading)
        ran = subprocess.run(
            command(*arguments),
            stdout=writing,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(place),
            timeout=60,
            check=False,
        )
        os.close(writing)
        assert ran.returncode == 0, ran.stderr
        assert "Traceback" not in ran.stderr
        assert "BrokenPipe" not in ran.stderr
    assert place.output.exists()
    gone = subprocess.run(
        f"exec {' '.join(command('inspect', 'none.onnx'))} 2>&1 >/dev/null | true", shell=True, check=False, timeout=60
    )
    assert gone.returncode == 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("arguments", [["targets"], ["targets", "--json"], ["nosuch", "--json"]])
def test_standard_output_on_a_full_disk(arguments: list[str]) -> None:
    with Path("/dev/full").open("w") as full:
        ran = subprocess.run(
            command(*arguments),
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(),
            timeout=60,
            check=False,
        )
    assert ran.returncode == 7
    assert "error[O002]: standard output: " in ran.stderr
    assert "Traceback" not in ran.stderr


@pytest.mark.parametrize("arguments", ["targets", "nosuch"])
def test_streams_that_are_closed(arguments: str) -> None:
    """`qconvert ... >&-`, as under some service managers: the work is done, and the exit code is its own."""
    line = f"exec {' '.join(command(arguments))} >&- 2>&-"
    ran = subprocess.run(line, shell=True, check=False, timeout=60, env=environment())
    assert ran.returncode == (0 if arguments == "targets" else 2)


def test_no_colours_and_no_bars_without_a_terminal(place: Place) -> None:
    for more in ({}, {"CI": "true", "TERM": "xterm-256color"}):
        ran = process(*place.convert(*SMALL), place=place, **more)
        assert ran.returncode == 0
        assert "\x1b" not in ran.stdout + ran.stderr
        assert "\r" not in ran.stdout + ran.stderr


def test_terminal(place: Place) -> None:
    """On a terminal: colours, unless NO_COLOR; bars, unless in CI."""
    assert b"\x1b[" in on_terminal(place)
    plain = on_terminal(place, NO_COLOR="1", CI="1")
    assert b"\x1b[3" not in plain
    assert b"calibrate: " in plain


def on_terminal(place: Place, **more: str) -> bytes:
    pty = pytest.importorskip("pty")
    mine, its = pty.openpty()
    child = subprocess.Popen(
        command(*place.convert(*SMALL)),
        stdin=its,
        stdout=its,
        stderr=its,
        env=environment(place, TERM="xterm-256color", **more),
    )
    os.close(its)
    seen = b""
    try:
        while piece := os.read(mine, 65536):
            seen += piece
    except OSError:  # Linux reports the end of a terminal as an error
        pass
    os.close(mine)
    assert child.wait(60) == 0
    return seen


@pytest.mark.parametrize(
    ("after", "number", "code"),
    [("load", signal.SIGINT, 130), ("prove", signal.SIGINT, 130), ("prove", signal.SIGTERM, 143)],
)
def test_signal_from_outside(place: Place, after: str, number: signal.Signals, code: int) -> None:
    place.output.parent.mkdir()
    place.output.write_text("older")
    before = hashes(place.root)
    child = subprocess.Popen(
        command(*place.convert("--set", "evaluation.rounds=500")),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(place),
    )
    assert child.stderr is not None
    while not child.stderr.readline().startswith(f"{after}: "):
        assert child.poll() is None
    child.send_signal(number)
    out, err = child.communicate(timeout=60)
    assert child.returncode == code
    assert out == ""
    assert err.count("error[X002]: ") == 1
    assert "Traceback" not in err
    assert hashes(place.root) == before
    assert place.leftovers() == []
    assert list((place.root.parent / "tmp").iterdir()) == []


def test_limit_on_the_size_of_files(place: Place) -> None:
    """As on a full disk: the system refuses in the middle of a file."""
    before = hashes(place.root)
    ran = subprocess.run(
        command(*place.convert(*SMALL, "-q")),
        capture_output=True,
        text=True,
        env=environment(place),
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096)),
        timeout=60,
        check=False,
    )
    assert ran.returncode == 7, ran.stderr
    assert ran.stderr.startswith("error[O002]: ")
    assert hashes(place.root) == before
    assert place.leftovers() == []


def test_nothing_is_left_in_the_temporary_folder(place: Place) -> None:
    """Not even by the runtime, whose telemetry is off."""
    ran = process(*place.convert("--json", "--set", "evaluation.rounds=1"), place=place)
    assert ran.returncode == 0, ran.stderr
    assert strict_json(ran.stdout)["status"] == "done"
    assert list((place.root.parent / "tmp").iterdir()) == []


def test_equal_bytes_with_another_hash_seed(place: Place) -> None:
    found = []
    for seed in ("0", "4711"):
        output = place.root / f"seed{seed}" / "m.onnx"
        ran = process(
            *place.convert("-q", "--no-evaluate", "--set", "algorithms=auto", output=output),
            place=place,
            PYTHONHASHSEED=seed,
        )
        assert ran.returncode == 0, ran.stderr
        found.append(output.read_bytes())
    assert found[0] == found[1]


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ("qconvert conv", "convert"),
        ("qconvert plan -t x86", "x86-vnni"),
        ("qconvert check -t x86", "x86-vnni"),
        ("qconvert convert -t x86", "x86-vnni"),
        ("qconvert convert -t x86-vnni,arm", "x86-vnni,arm-neon"),
        ("qconvert explain D00", "D004"),
        ("qconvert emulator ", "setup"),
    ],
)
def test_shell_completion(words: str, wanted: str) -> None:
    environment = {
        **os.environ,
        "_QCONVERT_COMPLETE": "complete_bash",
        "COMP_WORDS": words,
        "COMP_CWORD": str(words.count(" ")),
    }
    code = "import sys; sys.argv = ['qconvert']; from qconvert.__main__ import main; main()"
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert wanted in done.stdout.split(), done.stderr
