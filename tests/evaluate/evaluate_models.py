"""Small models and samples for the tests of evaluation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx
import onnx.parser

from qconvert.data import Sample
from qconvert.graph import Array, Graph, from_proto
from qconvert.runtime import Session

LINEAR = """
<ir_version: 8, opset_import: ["": 17]>
linear (float[batch, 4] x) => (float[batch, 3] y)
<float[4, 3] w = {1, 0, 0, 0, 1, 0, 0, 0, 1, %s, %s, %s}, float[3] b = {0, 0, 0}>
{
    [gemm] y = Gemm(x, w, b)
}
"""


@dataclass(frozen=True)
class FakeSamples:
    """Samples in memory, with the face of `qconvert.data.Samples`; counts how often each was read."""

    samples: Sequence[Sample]
    part: str = "evaluation"
    reads: list[str] | None = None

    def __iter__(self) -> Iterator[Sample]:
        for sample in self.samples:
            if self.reads is not None:
                self.reads.append(sample.id)
            yield sample

    def __len__(self) -> int:
        return len(self.samples)

    @property
    def has_labels(self) -> bool:
        return all(s.label is not None for s in self.samples)

    def take(self, n: int) -> FakeSamples:
        return replace(self, samples=self.samples[:n])


def samples_of(
    rows: Array, labels: Sequence[Any] | None = None, part: str = "evaluation", name: str = "x"
) -> FakeSamples:
    """One sample a row, with a batch axis of 1."""
    return FakeSamples(
        [
            Sample(f"s{i}", {name: np.asarray(row, np.float32)[np.newaxis]}, None if labels is None else labels[i])
            for i, row in enumerate(rows)
        ],
        part,
    )


def graph_of(text: str) -> Graph:
    """A graph from ONNX's text form."""
    return from_proto(onnx.parser.parse_model(text))


def session_of(text: str) -> Session:
    """A session of a model in ONNX's text form."""
    return Session(onnx.parser.parse_model(text).SerializeToString())


def linear(last: Sequence[float] = (0, 0, 0)) -> Session:
    """`y = x[:, :3] + x[:, 3] * last`: classes 0 to 2 from the first three inputs, disturbed by the fourth."""
    return session_of(LINEAR % tuple(float(v) for v in last))
