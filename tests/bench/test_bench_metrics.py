"""The benchmark's own metrics against values worked out by hand; needs no model."""

from __future__ import annotations

import numpy as np
import pytest

from .metrics import Detected, average_precisions, next_token, overlap, spearman


def test_equal_values_share_their_mean_rank() -> None:
    assert spearman(np.array([1.0, 2.0, 2.0, 5.0]), np.array([10.0, 20.0, 20.0, 21.0])) == pytest.approx(1.0)
    # ranks 1, 2.5, 2.5, 4 against 4, 2, 3, 1: cov -4.5, variances 4.5 and 5
    assert spearman(np.array([1, 2, 2, 3]), np.array([9, 5, 7, 1])) == pytest.approx(-4.5 / np.sqrt(4.5 * 5))


def test_perplexity_of_certain_and_even_guesses() -> None:
    logits = np.zeros((1, 3, 4), dtype=np.float32)
    logits[0, 0, 2] = 100.0  # the first guess is right and certain, the second one is even among four
    found = next_token([("s", {"input_ids": np.array([[1, 2, 3]])}, {"logits": logits}, None)])
    assert found["perplexity"] == pytest.approx(2.0)
    assert found["next_token"] == 0.5


def test_overlap_of_shifted_boxes() -> None:
    boxes = np.array([[0, 0, 2, 2], [1, 0, 3, 2], [5, 5, 6, 6]], dtype=float)
    assert overlap(boxes[0], boxes) == pytest.approx([1.0, 1 / 3, 0.0])


def test_average_precision_of_two_hits_and_a_miss() -> None:
    """Right, wrong, right for two objects: precision 1 up to recall 0.5, then 2/3."""
    hits = np.zeros((10, 3), dtype=bool)
    hits[0, [0, 2]] = True  # only at overlap 0.5
    unit = Detected(np.array([7, 7, 7]), np.array([0.9, 0.8, 0.7]), hits, np.array([7, 7]))
    found = average_precisions([unit])
    assert found["mAP50"] == pytest.approx((51 * 1 + 50 * 2 / 3) / 101)
    assert found["mAP"] == pytest.approx(found["mAP50"] / 10)


def test_a_class_without_detections_counts_as_zero() -> None:
    unit = Detected(np.array([0]), np.array([0.9]), np.ones((10, 1), dtype=bool), np.array([0, 1]))
    assert average_precisions([unit])["mAP50"] == pytest.approx(0.5)
