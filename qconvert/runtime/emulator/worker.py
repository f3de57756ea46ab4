"""Runs inside of the emulated machine, which has only Python, NumPy and onnxruntime: `worker.py FOLDER` does the job there.

Every model runs on every feed; outputs go into files by number. Then the first feed runs three times between two system calls
that the counting plugin sees.
"""

import json
import os
import sys
from typing import Any

import numpy as np
import onnxruntime as ort


def main(folder: str) -> None:
    """Do the job that `job.json` describes."""
    with open(os.path.join(folder, "job.json"), encoding="utf-8") as file:
        job = json.load(file)
    for m, path in enumerate(job["models"]):
        session = ort.InferenceSession(path, _options(job), providers=["CPUExecutionProvider"])
        feeds = [_feed(os.path.join(folder, f"feed{n}.npz"), job["inputs"]) for n in range(job["feeds"])]
        for n, feed in enumerate(feeds):
            outputs = session.run(job["outputs"], feed)
            np.savez(os.path.join(folder, f"out{m}_{n}.npz"), *outputs)
        for _ in range(job["counted"]):
            os.getppid()
            session.run(job["outputs"], feeds[0])
            os.getppid()


def _options(job: dict[str, Any]) -> Any:
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    for key, value in job["config"]:
        options.add_session_config_entry(key, value)
    return options


def _feed(path: str, names: list[str]) -> dict[str, Any]:
    with np.load(path) as arrays:
        return {name: arrays[f"arr_{k}"] for k, name in enumerate(names)}


if __name__ == "__main__":
    main(sys.argv[1])
