"""Channel numbers through shapes, against what NumPy does to a tensor that is full of them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qconvert.optimize.equalize_channels import Channels, operand, reshaped, result_of

HEADS = [
    ((2, 5, 12), (2, 5, 3, 4)),
    ((2, 5, 3, 4), (2, 5, 12)),
    ((1, 6), (6,)),
    ((3, 4, 1, 1), (3, 4)),
    ((7,), (1, 7, 1)),
]


@pytest.mark.parametrize(("before", "after"), HEADS)
def test_reshape_of_the_last_axes(before: tuple[int, ...], after: tuple[int, ...]) -> None:
    axis = len(before) - 1 if before != (3, 4, 1, 1) else 1
    size = [-1 if a == axis else 1 for a in range(len(before))]
    ids = np.arange(before[axis]).reshape(size)
    full = np.broadcast_to(ids, before).reshape(after)
    assert np.array_equal(np.broadcast_to(reshaped(ids, before, after), after), full)


@given(st.lists(st.integers(1, 4), min_size=1, max_size=4), st.integers(0, 3), st.data())
def test_any_reshape_keeps_every_elements_channel(before: list[int], axis: int, data: st.DataObject) -> None:
    axis %= len(before)
    after = data.draw(st.permutations(before))
    ids = np.arange(before[axis]).reshape([-1 if a == axis else 1 for a in range(len(before))])
    got = reshaped(ids, tuple(before), tuple(after))
    assert np.array_equal(np.broadcast_to(got, after), np.broadcast_to(ids, before).reshape(after))


def test_flattened_pixels_belong_to_their_channel_once_folded() -> None:
    channels = Channels()
    positions = channels.new(12)
    image = reshaped(positions.reshape(1, 12), (1, 12), (1, 3, 2, 2))
    folded = channels.folded(image, (1,))
    numbers = channels.numbers()
    assert folded.shape == (1, 3, 1, 1)
    assert numbers[positions].tolist() == [0] * 4 + [1] * 4 + [2] * 4


def test_ties_are_transitive() -> None:
    channels = Channels()
    ids = channels.new(5)
    channels.tie(ids[:2], ids[1:3])
    channels.tie(ids[4], ids[3])
    assert channels.numbers().tolist() == [0, 0, 0, 1, 1]


def test_operands_align_to_the_right() -> None:
    ids = np.arange(4).reshape(1, 1, 4)
    assert operand(ids, 1).shape == (4,)
    assert operand(ids, 0).shape == (4,)  # a scalar constant grows
    assert result_of(np.arange(4), 3).shape == (1, 1, 4)


def test_a_reshape_to_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match="does not become"):
        reshaped(np.arange(3).reshape(1, 3), (2, 3), (5,))
