"""AdaRound: rounding up or down learned by gradient descent on the layer's output (Nagel et al. 2020), for those with time.

With V real, h = clip(1.2 sigmoid(V) - 0.1, 0, 1) and W' = s clip(floor(W / s) + h), the loss is the mean squared error of f(W' q + b)
against f(W q + b) on the delivered inputs q, f the Relu that follows or nothing, over the same with rounding to nearest, plus a
term that drives every h to 0 or 1: strength * mean(1 - |2 h - 1|^beta), beta falling from 20 to 2 after a warm start. All
gradients are written out. Without Relu the loss needs second moments of the inputs only; with it, rows are drawn in every step.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Annotated

import numpy as np
from pydantic import Field

from ..calibrate import QuantParams
from ..data.settings import Settings
from ..graph import Array, Graph, Node
from .draft import Draft, Lab
from .fitting import from_matrix, lattice_of, to_matrix
from .gptq import Limits, nearest
from .gram import moments, rows
from .lockstep import Station
from .reconstruct import Reconstruction, reconstruct_by


class AdaRound(Settings):
    """Settings of `adaround`."""

    steps: Annotated[int, Field(ge=1)] = Field(default=500, description="steps of gradient descent for each layer")
    rate: Annotated[float, Field(gt=0)] = Field(default=0.02, description="learning rate (Adam)")
    strength: Annotated[float, Field(ge=0)] = Field(
        default=5.0, description="weight of the term that drives each rounding to up or down"
    )
    batch: Annotated[int, Field(ge=1)] = Field(default=1024, description="rows of inputs drawn in each step")
    samples: Annotated[int, Field(ge=1)] = Field(default=64, description="samples to learn from, at most")
    max_inputs: Annotated[int, Field(gt=0)] = Field(
        default=4608, description="layers with more inputs a neuron are rounded to nearest"
    )
    seed: int = Field(default=0, description="of the drawn rows")


def adaround(draft: Draft, lab: Lab, settings: AdaRound) -> Draft:
    """The draft with weights rounded by gradient descent, layer by layer, and biases corrected."""

    def rounded(station: Station, weights: Array, params: QuantParams) -> Array:
        return _layer(draft.reference, station, weights, params, settings)

    return reconstruct_by(draft, lab, Reconstruction(samples=settings.samples), rounded)


def _layer(graph: Graph, station: Station, weights: Array, params: QuantParams, settings: AdaRound) -> Array:
    """Codes of one layer."""
    node, matrix = station.node, to_matrix(station.node, weights)
    lattice, size = lattice_of(params, matrix.shape), matrix.shape[2]
    scale, limits = lattice.steps(size), lattice.limits(size)
    grid = Grid(matrix, scale, limits)
    if matrix.shape[2] > settings.max_inputs or np.array_equal(grid.nearest * scale, matrix):
        codes = grid.nearest
    elif _before_relu(graph, node):
        inputs = np.concatenate([rows(node, weights.shape, array) for array in station.got_in], axis=1)
        bias = graph.constant(node.input(2)) if node.input(2) else None
        each = np.zeros(1) if bias is None else bias.reshape(-1)
        biases = np.broadcast_to(each, (matrix[..., 0].size,)).reshape(matrix.shape[:2])
        codes = learned(grid, partial(relu_loss, grid, Rows.of(grid, inputs, biases), settings), settings)
    else:
        gram = moments(node, weights.shape, None, station.got_in).gram
        codes = learned(grid, partial(linear_loss, grid, gram), settings)
    return from_matrix(node, codes + (params.format.qmin - limits[0]), weights.shape)


def _before_relu(graph: Graph, node: Node) -> bool:
    readers = graph.consumers_of(node.output)
    return node.output not in graph.outputs and bool(readers) and all(reader.op == "Relu" for reader in readers)


# --- the parametrization -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Grid:
    """Weights [G, O, K], scales of the same shape, and limits of the codes."""

    weights: Array
    scale: Array
    limits: Limits

    @property
    def floor(self) -> Array:
        """Codes below the weights."""
        return np.asarray(np.floor(self.weights / self.scale))

    @property
    def nearest(self) -> Array:
        """Codes by rounding to nearest."""
        return nearest(self.weights, self.scale, self.limits)

    def start(self) -> Array:
        """V at which nothing is rounded yet."""
        part = (self.weights / self.scale - self.floor + 0.1) / 1.2
        return np.asarray(np.log(part / (1 - part)))

    def soft(self, v: Array) -> tuple[Array, Array, Array]:
        """Weights, and how h and they change with V: W', dh/dV, dW'/dV, each [G, O, K]."""
        sigmoid = 1 / (1 + np.exp(-v))
        raw = 1.2 * sigmoid - 0.1
        slope = np.where((raw > 0) & (raw < 1), 1.2 * sigmoid * (1 - sigmoid), 0.0)
        codes = self.floor + np.clip(raw, 0, 1)
        inside = (codes >= self.limits[0]) & (codes <= self.limits[1]) & (self.weights != 0)
        soft = np.where(self.weights != 0, np.clip(codes, *self.limits) * self.scale, 0.0)
        return soft, slope, np.where(inside, slope * self.scale, 0.0)

    def hard(self, v: Array) -> Array:
        """Codes to which V has decided; weights that are zero stay so."""
        up = 1.2 / (1 + np.exp(-v)) - 0.1 >= 0.5
        return np.where(self.weights != 0, np.clip(self.floor + up, *self.limits), 0.0)


Loss = Callable[[Array, int], tuple[float, Array]]


def linear_loss(grid: Grid, gram: Array, v: Array, step: int = 0) -> tuple[float, Array]:
    """Error of the outputs over that of rounding to nearest, and its gradient [G, O, K] by V.

    Args:
        gram: [G, K, K], second moments of the inputs.
    """
    base = grid.nearest * grid.scale - grid.weights
    power = max(float(((base @ gram) * base).sum()), 1e-300)
    soft, _, slope = grid.soft(v)
    change = soft - grid.weights
    pushed = change @ gram
    return float((pushed * change).sum()) / power, 2 * pushed * slope / power


@dataclass(frozen=True, eq=False)
class Rows:
    """What is behind Relu, for rows of inputs.

    Attributes:
        inputs: [G, N, K] delivered; bias: [G, O].
        wanted: [G, N, O], by the real weights; power: error a row with rounding to nearest.
    """

    inputs: Array
    bias: Array
    wanted: Array
    power: float

    @classmethod
    def of(cls, grid: Grid, inputs: Array, bias: Array) -> Rows:
        """With what the real weights and those rounded to nearest make of the inputs."""
        wanted = np.maximum(_outputs(inputs, grid.weights, bias), 0)
        plain = np.maximum(_outputs(inputs, grid.nearest * grid.scale, bias), 0)
        return cls(inputs, bias, wanted, max(float(np.square(plain - wanted).sum()) / inputs.shape[1], 1e-300))

    def drawn(self, settings: AdaRound, step: int) -> tuple[Array, Array]:
        """Inputs and what is wanted for a step: all rows, or some drawn at random."""
        count = self.inputs.shape[1]
        if count <= settings.batch:
            return self.inputs, self.wanted
        chosen = np.random.default_rng([settings.seed, step]).integers(count, size=settings.batch)
        return self.inputs[:, chosen], self.wanted[:, chosen]


def relu_loss(grid: Grid, data: Rows, settings: AdaRound, v: Array, step: int = 0) -> tuple[float, Array]:
    """The same behind Relu, on rows drawn for this step."""
    inputs, wanted = data.drawn(settings, step)
    soft, _, slope = grid.soft(v)
    got = _outputs(inputs, soft, data.bias)
    error = np.where(got > 0, got - wanted, 0)
    power = data.power * inputs.shape[1]
    return float(np.square(np.maximum(got, 0) - wanted).sum()) / power, 2 * (
        error.transpose(0, 2, 1) @ inputs
    ) * slope / power


def _outputs(inputs: Array, weights: Array, bias: Array) -> Array:
    kind = inputs.dtype
    return np.asarray(inputs @ weights.astype(kind).transpose(0, 2, 1) + bias[:, None].astype(kind))


def decision_loss(grid: Grid, v: Array, beta: float) -> tuple[float, Array]:
    """How undecided the roundings are, 0..1, and the gradient by V."""
    sigmoid = 1 / (1 + np.exp(-v))
    away = 2 * np.clip(1.2 * sigmoid - 0.1, 0, 1) - 1
    _, slope, _ = grid.soft(v)
    gradient = -2 * beta * np.abs(away) ** (beta - 1) * np.sign(away) * slope
    return float((1 - np.abs(away) ** beta).mean()), gradient / v.size


# --- the descent ---------------------------------------------------------------------------------------------------------

_WARM = 0.2  # share of the steps without the deciding term
_BETAS = (20.0, 2.0)


def learned(grid: Grid, loss: Loss, settings: AdaRound) -> Array:
    """Codes [G, O, K] found by Adam."""
    v = grid.start()
    first, second = np.zeros_like(v), np.zeros_like(v)
    for step in range(settings.steps):
        _, gradient = loss(v, step)
        done = (step / settings.steps - _WARM) / (1 - _WARM)
        if done >= 0:
            beta = _BETAS[1] + 0.5 * (_BETAS[0] - _BETAS[1]) * (1 + np.cos(np.pi * done))
            gradient = gradient + settings.strength * decision_loss(grid, v, float(beta))[1]
        first, second = 0.9 * first + 0.1 * gradient, 0.999 * second + 0.001 * np.square(gradient)
        means = first / (1 - 0.9 ** (step + 1)), second / (1 - 0.999 ** (step + 1))
        v = v - settings.rate * means[0] / (np.sqrt(means[1]) + 1e-12 / v.size)
    return grid.hard(v)
