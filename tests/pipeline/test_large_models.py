"""Models whose weights lie outside: with thresholds lowered, a small one goes all the ways of a large one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from bench.decoder import Decoder
from end_to_end_support import Cli
from onnx import numpy_helper

from qconvert.graph import Mapped, io, load
from qconvert.pipeline.measuring import measure
from qconvert.runtime import Options, opened, pieces, session

WORDS = 500


@pytest.fixture
def decoder(tmp_path: Path) -> Path:
    path = tmp_path / "in" / "decoder.onnx"
    path.parent.mkdir()
    Decoder(path, 64, 128, 2, WORDS).write()
    for part in ("calib", "eval"):
        (tmp_path / "data" / part).mkdir(parents=True)
        tokens = np.random.default_rng(len(part)).integers(0, WORDS, (1, 12))
        np.savez(tmp_path / "data" / part / "0.npz", tokens=tokens)
    return path


def lower(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "LARGE", 100_000)
    monkeypatch.setattr(session, "LARGE_OUTSIDE", 50_000)
    monkeypatch.setattr(pieces, "PIECE", 40_000)


def arrays(path: Path) -> dict[str, np.ndarray]:
    return {t.name: numpy_helper.to_array(t) for t in onnx.load(path).graph.initializer}


FORMS = {
    "static": ("--mode", "static", "--set", "placement=everywhere"),
    "weight-only": ("--mode", "weight-only", "--bits", "4"),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_large_model_gives_the_same_numbers(
    cli: Cli, decoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    common = ("-t", "x86-vnni", "-d", tmp_path / "data", "--set", "algorithms=none", *FORMS[form])
    plain, apart = tmp_path / "plain" / "m.onnx", tmp_path / "apart" / "m.onnx"
    first = cli("convert", decoder, "-o", plain, *common, "--set", "evaluation.latency=false", "--json")
    assert first.code == 0, first.err
    lower(monkeypatch)
    monkeypatch.setattr(measure, "available_memory", lambda: 1_000_000)
    second = cli("convert", decoder, "-o", apart, *common, "--json")
    assert second.code == 0, second.err
    assert {f.name for f in apart.parent.iterdir()} >= {"m.onnx", "m.onnx.data"}
    assert not (plain.parent / "m.onnx.data").exists()
    wanted, got = arrays(plain), arrays(apart)
    assert wanted.keys() == got.keys()
    assert all(np.array_equal(wanted[name], got[name]) for name in wanted)
    assert "V108" in {d["code"] for d in second.json["diagnostics"]}
    assert second.json["measurements"]["latency"] is None
    found, before = (ran.json["measurements"]["fidelity"]["sqnr_db"] for ran in (second, first))
    assert found == pytest.approx(before, abs=0.1)


def test_weights_stay_where_they_are(decoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    graph, before = load(decoder), decoder.with_name("decoder.onnx.data").stat().st_mtime_ns
    assert any(isinstance(w, Mapped) for w in graph.weights.values())
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    lower(monkeypatch)
    with opened(graph) as running:
        (folder,) = tmp_path.glob("qconvert-*")
        assert sum(f.stat().st_size for f in folder.iterdir()) == 0, "mapped weights are not written again"
        assert running.run({"tokens": np.ones((1, 4), np.int64)})["logits"].shape == (4, WORDS)
    assert not list(tmp_path.glob("qconvert-*"))
    assert decoder.with_name("decoder.onnx.data").stat().st_mtime_ns == before


def test_pieces_compute_what_the_whole_does(decoder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    graph, feed = load(decoder), {"tokens": np.arange(8).reshape(1, 8)}
    inner = tuple(node.output for node in graph.nodes[5:9])
    graph = graph.with_(outputs=(*inner, *graph.outputs))
    with opened(graph, Options(optimize=False)) as whole:
        wanted = whole.run(feed)
    monkeypatch.setattr(session, "LARGE", 0)
    monkeypatch.setattr(pieces, "PIECE", 40_000)
    with opened(graph, Options(optimize=False)) as cut:
        assert len(getattr(cut, "_pieces")) > 3  # noqa: B009
        got = cut.run(feed)
    assert all(np.array_equal(wanted[name], got[name]) for name in wanted)


def test_a_result_that_is_too_large_for_one_file_gets_two(
    cli: Cli, decoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    onnx.save(onnx.load(decoder), tmp_path / "inside.onnx")
    monkeypatch.setattr(io, "EXTERNAL_ABOVE", 100_000)
    output = tmp_path / "out" / "m.onnx"
    ran = cli(
        "convert", tmp_path / "inside.onnx", "-t", "x86-vnni", "-o", output, "--mode", "weight-only", "--bits", "8"
    )
    assert ran.code == 0, ran.err
    assert output.with_name("m.onnx.data").stat().st_size > 100_000
    assert output.stat().st_size < 100_000
