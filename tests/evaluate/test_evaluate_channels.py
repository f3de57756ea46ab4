"""Tensors whose channels are scaled otherwise: the error that is left is that of the values, whatever the factors are."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qconvert.evaluate.channels import ScaledTotal
from qconvert.evaluate.fidelity import Total

Pairs = list[tuple[np.ndarray, np.ndarray]]


def pairs(seed: int, noise_db: float, factors: np.ndarray, axis: int) -> tuple[Pairs, Pairs]:
    """Samples [1, 8, 8, 8] with noise, and the same ones with the channels of an axis scaled."""
    random = np.random.default_rng(seed)
    plain: Pairs = []
    for _ in range(3):
        r = np.maximum(random.normal(size=(1, 8, 8, 8)), 0).astype(np.float32)
        plain.append((r, r + random.normal(size=r.shape) * np.sqrt(np.square(r).mean()) * 10 ** (-noise_db / 20)))
    by = factors.reshape([-1 if i == axis % 4 else 1 for i in range(4)])
    return plain, [(r, v * by) for r, v in plain]


def total(kind: type[Total], samples: Pairs) -> Total:
    found = kind()
    for r, v in samples:
        found.add(r, v.astype(np.float32))
    return found


@given(
    seed=st.integers(0, 99),
    noise_db=st.floats(12, 60),
    factors=st.lists(st.floats(0.05, 20).filter(lambda f: not 0.5 < f < 2), min_size=8, max_size=8),
    axis=st.sampled_from([1, -1]),
)
def test_factors_are_taken_out(seed: int, noise_db: float, factors: list[float], axis: int) -> None:
    plain, scaled = pairs(seed, noise_db, np.array(factors), axis)
    found = total(ScaledTotal, scaled)
    assert isinstance(found, ScaledTotal)
    assert found.rescaled
    assert found.sqnr_db == pytest.approx(total(Total, plain).sqnr_db, abs=0.8)


@given(seed=st.integers(0, 99), noise_db=st.floats(-10, 60))
def test_noise_alone_is_no_factor(seed: int, noise_db: float) -> None:
    plain, _ = pairs(seed, noise_db, np.ones(8), 1)
    found = total(ScaledTotal, plain)
    assert isinstance(found, ScaledTotal)
    assert not found.rescaled
    assert found.sqnr_db == total(Total, plain).sqnr_db


@pytest.mark.parametrize(
    ("r", "v"),
    [
        (np.zeros((1, 4, 2)), np.ones((1, 4, 2))),
        (np.ones((1, 4)), 5 * np.ones((1, 4))),  # one value a channel: any factor fits
        (np.ones((2, 4)), -np.ones((2, 4))),
        (np.ones(4), 3 * np.ones(4)),
        (np.ones((2, 4)), np.full((2, 4), np.inf)),
        (np.ones((2, 4)), np.ones((2, 3))),
        (np.ones((2, 4), np.int64), np.ones((2, 4), np.int64) * 3),
    ],
    ids=["zeros", "one value", "sign", "no channels", "infinite", "other shape", "integers"],
)
def test_what_has_no_factors(r: np.ndarray, v: np.ndarray) -> None:
    found, plain = ScaledTotal(), Total()
    found.add(r, v)
    plain.add(r, v)
    assert not found.rescaled
    assert found.sqnr_db == plain.sqnr_db
