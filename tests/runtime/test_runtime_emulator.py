"""Other cores: what runs there is what runs here, and what is missing is said. Emulated runs are skipped where nothing is set up."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from end_to_end_support import Cli, Place, conv_model
from onnx import helper, numpy_helper

from qconvert.errors import QConvertError
from qconvert.evaluate import Emulation, measure_emulated
from qconvert.report.rows import emulation_row
from qconvert.runtime import Session
from qconvert.runtime.emulator import CORES, absent, emulate, setup

FEEDS = [{"x": np.random.default_rng(seed).standard_normal((1, 3, 8, 8)).astype(np.float32)} for seed in range(2)]


def needs(name: str) -> pytest.MarkDecorator:
    reason = absent(CORES[name])
    return pytest.mark.skipif(reason is not None, reason=f"{CORES[name].title} cannot be emulated: {reason}")


@pytest.fixture
def conv(tmp_path: Path) -> Path:
    path = tmp_path / "conv.onnx"
    onnx.save(conv_model(batch=1), path)
    return path


@pytest.fixture
def saturating(tmp_path: Path) -> Path:
    """A product of extreme codes: on AVX2, sums of two products of 8 bits pass 16 bits."""
    constants = {
        "s": np.float32(1),
        "z": np.uint8(0),
        "w": np.full((8, 16), 127, np.int8),
        "ws": np.float32(1),
        "wz": np.int8(0),
        "ys": np.float32(2048),
    }
    nodes = [helper.make_node("QLinearMatMul", ["x", "s", "z", "w", "ws", "wz", "ys", "z"], ["y"])]
    graph = helper.make_graph(
        nodes,
        "extreme",
        [helper.make_tensor_value_info("x", onnx.TensorProto.UINT8, (4, 8))],
        [helper.make_tensor_value_info("y", onnx.TensorProto.UINT8, (4, 16))],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    path = tmp_path / "extreme.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


@needs("cortex-a76")
def test_arm_computes_what_this_host_computes(conv: Path) -> None:
    session = Session(conv)
    found = measure_emulated(CORES["cortex-a76"], conv, conv, session, FEEDS)
    assert found.samples == len(FEEDS)
    assert found.sqnr_db > 90
    if found.instructions is not None:
        assert found.float_instructions is not None
        assert found.ratio == pytest.approx(1, rel=0.1)
        assert found.instructions > 10_000


@needs("haswell")
def test_sums_saturate_without_vnni(saturating: Path) -> None:
    feed = {"x": np.full((4, 8), 255, np.uint8)}
    exact = np.rint(8 * 255 * 127 / 2048)
    assert (Session(saturating).run(feed)["y"] == min(exact, 255)).all()
    (found,) = emulate(CORES["haswell"], [saturating], [feed], ["y"])
    assert (found.outputs[0]["y"] < exact).all()


@needs("haswell")
def test_what_fails_there_is_named(tmp_path: Path) -> None:
    (tmp_path / "broken.onnx").write_bytes(b"no model")
    with pytest.raises(QConvertError, match="emulated Haswell") as caught:
        emulate(CORES["haswell"], [tmp_path / "broken.onnx"], FEEDS, ["y"])
    assert caught.value.exit_code == 6


def test_without_an_emulator(conv: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QCONVERT_EMULATOR", str(tmp_path / "nothing"))
    with pytest.raises(QConvertError, match="cannot be emulated") as caught:
        emulate(CORES["cortex-a53"], [conv], FEEDS, ["y"])
    assert caught.value.exit_code == 8


def test_status_tells_what_is_missing(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QCONVERT_EMULATOR", str(tmp_path / "nothing"))
    ran = cli("emulator", "status")
    assert ran.code == 0
    assert all(name in ran.out for name in (*CORES, str(tmp_path / "nothing")))


def test_setup_without_debian_says_so(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QCONVERT_EMULATOR", str(tmp_path / "emulator"))
    monkeypatch.setenv("PATH", str(tmp_path))
    ran = cli("emulator", "setup")
    assert ran.code == 8
    assert "apt-get" in ran.err
    assert "no root is needed" in ran.out  # what would be done is said first
    assert not (tmp_path / "emulator").exists()


def test_a_failed_setup_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("apt-get", "apt-cache", "dpkg-deb"):
        (tools / name).write_text("#!/bin/sh\necho no network here >&2; exit 1\n")
        (tools / name).chmod(0o755)
    (tmp_path / "emulator").mkdir()
    (tmp_path / "emulator" / "old").touch()
    monkeypatch.setenv("QCONVERT_EMULATOR", str(tmp_path / "emulator"))
    monkeypatch.setenv("PATH", f"{tools}:/usr/bin:/bin")
    with pytest.raises(QConvertError, match="no network here"):
        setup.set_up(lambda step: None)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["emulator", "tools"]
    assert (tmp_path / "emulator" / "old").exists()


def test_a_conversion_goes_on_without_an_emulator(cli: Cli, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QCONVERT_EMULATOR", str(place.root / "nothing"))
    ran = cli(
        "convert",
        place.model,
        "-t",
        "x86-vnni",
        "-d",
        place.data,
        "-o",
        place.root / "o.onnx",
        "--set",
        "verify=emulate",
    )
    assert ran.code == 0
    assert "V104" in ran.out


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({}, ("10.00 M instructions", "2.50x fewer", "bit for bit")),
        ({"identical": False}, ("2.50x", "40.0 dB from this host")),
        ({"instructions": None}, ("not counted",)),
    ],
)
def test_rows(change: dict[str, object], words: tuple[str, ...]) -> None:
    found = Emulation(
        core="a",
        title="A",
        samples=1,
        identical=True,
        sqnr_db=40.0,
        float_instructions=10_000_000,
        instructions=4_000_000,
    )
    row = " ".join(emulation_row(found.model_copy(update=change)))
    assert all(word in row for word in words)


@needs("cortex-a53")
def test_evaluate_on_another_core(cli: Cli, conv: Path) -> None:
    ran = cli("evaluate", conv, conv, "--on", "cortex-a53")
    assert ran.code == 0
    assert "on Cortex-A53" in ran.out


def test_evaluate_on_an_unknown_core(cli: Cli, conv: Path) -> None:
    ran = cli("evaluate", conv, "--on", "cortex-b1")
    assert ran.code == 2
    assert "cortex-a76" in ran.err


def test_evaluate_needs_the_emulator(cli: Cli, conv: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QCONVERT_EMULATOR", str(tmp_path / "nothing"))
    ran = cli("evaluate", conv, "--on", "arm")
    assert ran.code == 8
    assert "qconvert emulator setup" in ran.err
