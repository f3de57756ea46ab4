"""Same inputs, same bytes: whatever the run, the packaging of the samples, and the number of threads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from end_to_end_support import Cli, Place, strict_json, write_data

TARGETS = ["x86-vnni", "tensorrt"]


def converted(cli: Cli, place: Place, name: str, *extra: object, data: Path | None = None) -> bytes:
    output = place.root / name / "m.onnx"
    ran = cli(*place.convert("-q", *extra, data=data, output=output))
    assert ran.code == 0, ran.err
    return output.read_bytes()


def weights_only(content: bytes) -> bytes:
    """The model without its provenance, which names the dataset by its hash."""
    import onnx

    proto = onnx.ModelProto.FromString(content)
    del proto.metadata_props[:]
    return bytes(proto.SerializeToString(deterministic=True))


@pytest.mark.parametrize("target", TARGETS)
def test_second_run_and_more_threads(cli: Cli, place: Place, target: str) -> None:
    options = ("-t", target, "--no-evaluate")
    first = converted(cli, place, "a", *options)
    assert converted(cli, place, "b", *options) == first
    assert converted(cli, place, "c", *options, "--threads", "2") == first


@pytest.mark.parametrize("files", [1, 5, 16])
def test_rows_in_other_files(cli: Cli, place: Place, files: int) -> None:
    other = write_data(place.root / "other", files=files)
    assert weights_only(converted(cli, place, "b", "--no-evaluate", data=other)) == weights_only(
        converted(cli, place, "a", "--no-evaluate")
    )


def test_samples_one_by_one(cli: Cli, place: Place) -> None:
    """Files of one sample without a batch axis hold the same rows."""
    rows = np.concatenate([np.load(file)["x"] for file in sorted(place.data.iterdir())])
    single = place.root / "single"
    single.mkdir()
    for number, row in enumerate(rows):
        np.save(single / f"{number:02d}.npy", row)
    assert weights_only(converted(cli, place, "b", "--no-evaluate", data=single)) == weights_only(
        converted(cli, place, "a", "--no-evaluate")
    )


@pytest.mark.parametrize("format_", ["qdq", "qoperator"])
def test_other_folders_and_names(cli: Cli, place: Place, tmp_path: Path, format_: str) -> None:
    """No path and no time is in the artefact."""
    first = converted(cli, place, "a", "--no-evaluate", "--format", format_)
    place.root.rename(tmp_path / "elsewhere")
    moved = Place(tmp_path / "elsewhere")
    moved.model.rename(moved.model.with_name("renamed.onnx"))
    output = moved.root / "b" / "another.onnx"
    assert (
        cli(
            *moved.convert(
                "-q", "--no-evaluate", "--format", format_, model=moved.model.with_name("renamed.onnx"), output=output
            )
        ).code
        == 0
    )
    assert output.read_bytes() == first


def test_report_repeats_but_for_times(cli: Cli, place: Place) -> None:
    """With the algorithms, which are part of a usual run, and a second thread."""
    reports, models = [], []
    for threads in (1, 2):
        assert (
            cli(
                *place.convert(
                    "-q", "--set", "evaluation.latency=false", "--set", "algorithms=auto", "--threads", threads
                )
            ).code
            == 0
        )
        models.append(place.output.read_bytes())
        reports.append(timeless(strict_json(place.output.with_name("m.report.json").read_text())))
    assert models[0] == models[1]
    assert reports[0] == reports[1]


def timeless(value: Any) -> Any:
    """The report without how long things took."""
    if isinstance(value, dict):
        return {key: timeless(item) for key, item in value.items() if not key.endswith("seconds")}
    return [timeless(item) for item in value] if isinstance(value, list) else value


def test_seed_and_samples_change_the_result(cli: Cli, place: Place) -> None:
    found = {
        converted(cli, place, name, "--no-evaluate", "--samples", "4", "--seed", seed)
        for name, seed in (("a", "0"), ("b", "1"))
    }
    assert len(found) == 2
