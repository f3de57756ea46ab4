"""Recurrent layers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ...calibrate import QuantParams, quantize
from ...graph import Array
from ..weights import bias_codes
from .layout import View, identity, same_memory
from .schema import ACTIVATIONS
from .site import Site

_OMITTED = -1
_GATES = (0, 2, 3, 1)  # input, forget, cell, output among ONNX's input, output, forget, cell
_TIME_FIRST, _BATCH_FIRST = (0, 1, 2), (1, 0, 2)
_BEFORE_ACTIVATION = np.float32(2.0**-12)  # of the gates in their kernels; LiteRT wants it written down


def lstm(site: Site) -> None:
    """UNIDIRECTIONAL_SEQUENCE_LSTM whose states are zero at the beginning of every run.

    Eight 8-bit matrices with a scale each, int32 biases in (input scale * weight scale) on the side of the input, a hidden state
    in the scale of the output, and an int16 cell state.
    """
    build, view = site.build, site.build.settled(site.view(0))
    batch_first = not same_memory(view.shape, view.order, _TIME_FIRST) and same_memory(
        view.shape, view.order, _BATCH_FIRST
    )
    order = _BATCH_FIRST if batch_first else _TIME_FIRST
    steps, batch, hidden = view.shape[0], view.shape[1], site.out_shape[-1]
    cell = site.scene.activations[site.node.outputs[2]]
    states = (
        build.variable(f"{site.node.name}/hidden", (batch, hidden), site.params, _zeros((batch, hidden), site.params)),
        build.variable(f"{site.node.name}/cell", (batch, hidden), cell, _zeros((batch, hidden), cell)),
    )
    inputs = (build.at(view, order), *_matrices(site, 1), *_matrices(site, 2), *(_OMITTED,) * 3, *_biases(site))
    shape = (batch, steps, hidden) if batch_first else (steps, batch, hidden)
    out = build.tensor(site.result, shape, site.params)
    build.op(
        "UNIDIRECTIONAL_SEQUENCE_LSTM",
        (*inputs, *(_OMITTED,) * 2, *states, *(_OMITTED,) * 4),
        (out,),
        {"activation": ACTIVATIONS["tanh"], "time_major": not batch_first},
        _intermediates(site),
    )
    site.scene.choices.append(
        f"`{site.node.name}` is one UNIDIRECTIONAL_SEQUENCE_LSTM of {steps} steps with a 16-bit cell state, both states set to zero in every run"
    )
    site.put(View(out, site.out_shape, (2, 0, 1, 3) if batch_first else identity(4), site.params))


def _zeros(shape: tuple[int, ...], params: QuantParams) -> Array:
    return np.full(shape, params.zero_point, params.format.dtype)


def _matrices(site: Site, index: int) -> list[int]:
    """The four matrices of one side, each with its scale."""
    weight, params = site.array(index), site.weight(index)
    assert weight is not None
    codes, scales = np.split(quantize(weight, params)[0], 4), _scales(params)
    return [site.build.constant(np.ascontiguousarray(codes[g]), "int8", scales[g]) for g in _GATES]


def _scales(params: QuantParams) -> list[Array]:
    """One scale [1] a gate."""
    found = np.asarray(params.scale, np.float32).reshape(-1)
    return [found[:: max(1, found.size // 4)][g if found.size > 1 else 0].reshape(1) for g in range(4)]


def _biases(site: Site) -> list[int]:
    reading, given = site.view(0).params, site.array(3)
    assert reading is not None
    scales = _scales(site.weight(1))
    size = site.out_shape[-1]
    rows = np.zeros((4, size), np.float32) if given is None else given[0, : 4 * size].reshape(4, size)
    found = []
    for g in _GATES:
        scale = np.asarray(reading.scale * scales[g], np.float32)
        found.append(site.build.constant(bias_codes(rows[g], scale), "int32", scale))
    return found


def _intermediates(site: Site) -> tuple[int, ...]:
    """Scales inside the kernel, on tensors without elements: TFLM takes no others."""
    build, (scale, zero) = site.build, (np.reshape(_BEFORE_ACTIVATION, 1), np.zeros(1, np.int64))
    gates = [build.tensor("", (0,), None, "int16") for _ in _GATES]
    hidden = build.tensor("", (0,), site.params)
    for number in gates:
        build.tensors[number] = replace(build.tensors[number], scale=scale, zero_point=zero)
    return (*gates, hidden)
