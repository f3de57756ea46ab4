"""Latency of two models against onnxruntime's quantizer, FP32, ours and theirs interleaved in one run."""

from __future__ import annotations

import numpy as np

from qconvert.runtime import Feed

from . import artefacts
from .artefacts import Failed, Made
from .cases import Case
from .speed import timed
from .tables import Table, held

COLUMNS = (
    "model",
    "input",
    "FP32 ms",
    "qconvert ms",
    "onnxruntime ms",
    "speed-up",
    "its speed-up",
    "theirs / ours",
    "bound",
)
BOUNDS = {"mobilenetv2_100_flowers": 1.0, "all_minilm_l6_v2_sts": 0.97}
_TOKENS = 32


def start() -> Table:
    """The empty table: one row a model."""
    table = Table("latency", "Latency of one run, one thread", COLUMNS)
    table.notes.append(
        "times are medians over interleaved rounds, quotients medians of the rounds' quotients [quartiles]"
    )
    return table


def add(table: Table, case: Case) -> None:
    """Time one model."""
    made = {"qconvert": artefacts.ours(case), "onnxruntime": artefacts.theirs(case)}
    failed = [f"{case.name}, {who}: {m.reason}" for who, m in made.items() if isinstance(m, Failed)]
    if failed:
        table.notes += failed
        return
    paths = {"FP32": case.model, **{who: m.path for who, m in made.items() if isinstance(m, Made)}}
    feed = dict(_feed(case))
    times = timed(paths, feed, 101, 60.0)
    low, ratio, high = times.ratio("onnxruntime", "qconvert")
    ms = {who: times.median(who) * 1e3 for who in paths}
    speedup = {who: times.ratio("FP32", who)[1] for who in paths}
    data = {
        "model": case.name,
        "ms": ms,
        "speedup": speedup,
        "against_onnxruntime": ratio,
        "quartiles": [low, high],
        "rounds": times.rounds,
        "bound": BOUNDS[case.name],
    }
    cells = {
        "model": case.name,
        "input": " ".join(str(list(array.shape)) for array in feed.values()),
        **{f"{who} ms": f"{time:.3f}" for who, time in ms.items()},
        "speed-up": f"{speedup['qconvert']:.2f}",
        "its speed-up": f"{speedup['onnxruntime']:.2f}",
        "theirs / ours": f"{ratio:.3f} [{low:.3f}, {high:.3f}]",
        "bound": held(ratio, BOUNDS[case.name]),
    }
    table.add(cells, data)


def _feed(case: Case) -> Feed:
    """One sample; of sequences one of 32 tokens, made from the first few."""
    samples = list(case.dataset().calibration.take(8))
    if all(array.ndim == 2 for array in samples[0].feed.values()):
        return {
            name: np.concatenate([sample.feed[name] for sample in samples], axis=1)[:, :_TOKENS]
            for name in samples[0].feed
        }
    return samples[0].feed
