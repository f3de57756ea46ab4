"""Sequential reconstruction: every layer's weights are rounded, and its bias corrected, against what its quantized input delivers.

For a layer with FP32 input x and output y = W x, and the input q that the quantized part before it delivers, GPTQ rounds W
under G = E[q qᵀ] (inputs centred where there is a bias), and the mean of the error that remains goes into the bias (Nagel et al. 2019, section 4.2,
measured instead of modelled). With `asymmetric` the rounding aims at W' = W + E[e qᵀ] G⁻¹, e = y - W q, the real weights with the
least error E |y - W' q|²; that shrinks the signal a little in every layer, which pays only where rounding is coarse. There, too,
y is what the sum behind the layer needs where it is added to a value that is in error itself, and how far
moments are trusted is found out on half of the samples (see `fitting`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Annotated

import numpy as np
from pydantic import Field

from ..calibrate import QuantParams, constant_params, dequantize, fake_quantize, fit_bias, quantize
from ..data.settings import Settings
from ..graph import Array, Edit, Node
from ..plan import Kind, Plan, WeightPlan
from .codebook import on_levels
from .draft import Draft, Lab
from .fitting import Part, fitted, from_matrix, suited_pull, targets, to_matrix
from .gram import sums
from .lockstep import Station, gains, run_layer, stacked_mean, stations, walk


class Reconstruction(Settings):
    """Settings of `reconstruct`."""

    rounding: bool = Field(default=True, description="round weights by GPTQ, to nearest otherwise")
    bias: bool = Field(default=True, description="correct biases for the mean error")
    gain: bool = Field(
        default=False,
        description="scale each output channel to fit the FP32 output by least squares; pays where ranges clip much",
    )
    asymmetric: bool | None = Field(
        default=None,
        description="aim at the FP32 output of the FP32 input, not of the delivered input; pays at few bits, shrinks the signal at 8; by default below 8 bits, and for codebooks of up to 4",
    )
    damping: Annotated[float, Field(gt=0)] = Field(
        default=0.01,
        description="share of the mean diagonal added to Gram matrices; ten times that where rows are few, and below 8 bits",
    )
    samples: Annotated[int, Field(ge=1)] = Field(default=64, description="samples to learn from, at most")
    max_inputs: Annotated[int, Field(gt=0)] = Field(
        default=4608,
        description="inputs of a neuron whose Gram matrix is taken as a whole, at most; more are rounded in blocks, which bounds time",
    )
    memory: Annotated[float, Field(gt=0)] = Field(
        default=1000.0,
        description="MB for Gram matrices, and as much for the samples under way; less means smaller blocks and fewer samples",
    )


def reconstruct(draft: Draft, lab: Lab, settings: Reconstruction) -> Draft:
    """Round weights and correct biases layer by layer.

    Returns:
        A draft whose graph holds the rounded weights as real values and the corrected biases. Weights that several nodes share
        are left to rounding to nearest.
    """
    return reconstruct_by(draft, lab, settings, None)


Rounding = Callable[[Station, Array, QuantParams], Array]


def reconstruct_by(draft: Draft, lab: Lab, settings: Reconstruction, rounding: Rounding | None) -> Draft:
    """The same, where a function of layer, weights and parameters gives the codes, in the shape of the weights."""
    bench = _Bench(draft, lab, settings, rounding)
    count = min(settings.samples, _affordable(draft, settings.memory))
    walk(draft.reference, bench.quantized, draft.plan, lab.fit[:count], bench.visit, lab.options.threads)
    return bench.result()


def corrected(draft: Draft, lab: Lab) -> Draft:
    """The draft with its biases corrected on a few samples, as a preview of what reconstruction makes of it."""
    return reconstruct(draft, lab, Reconstruction(rounding=False, samples=_PREVIEW))


_PREVIEW = 16
_FEW_BITS, _MANY_BITS = 4, 8
_ENOUGH = 8  # samples, to judge with half of them
_MATRICES = 5  # that live at once: the Gram matrix, damped, inverse, factor, copy
_LIVE = 6  # tensors of the largest size that live at once, in both graphs together, with room for what the process holds besides


def _affordable(draft: Draft, megabytes: float) -> int:
    """Samples whose live values fit into memory."""
    largest = max(
        (int(np.prod(draft.plan.shapes[name])) for name in draft.plan.tensors if name in draft.plan.shapes), default=1
    )
    return max(8, int(megabytes * 1e6 / (4 * _LIVE * max(largest, 1))))


def _blocks(shape: tuple[int, ...], block: int, settings: Reconstruction) -> list[slice]:
    """Inputs [K] of weights [G, O/G, K] in blocks whose Gram matrices fit into memory; those that share a scale stay together."""
    fitting = int((settings.memory * 1e6 / (8 * _MATRICES * shape[0])) ** 0.5)
    size = max(1, min(settings.max_inputs, fitting))
    size = max(block, size - size % block) if block else size
    return [slice(start, min(start + size, shape[2])) for start in range(0, shape[2], size)]


def held_back(draft: Draft, lab: Lab, settings: Reconstruction) -> str:
    """What the limits of memory and inputs leave out, in words; "" where they do not bind."""
    found, wanted = [], min(settings.samples, len(lab.fit))
    if (count := _affordable(draft, settings.memory)) < wanted:
        found.append(f"{count} of {wanted} samples, by `memory: {settings.memory:g}` MB")
    split = [
        node for node in stations(draft.reference, draft.plan) if settings.rounding and _is_split(node, draft, settings)
    ]
    if split:
        first = f"`{split[0].name}`" + (f" and {len(split) - 1} more" if len(split) > 1 else "")
        found.append(f"inputs in blocks at {first}, by `memory` or `max_inputs: {settings.max_inputs}`")
    return "; ".join(found)


def _is_split(node: Node, draft: Draft, settings: Reconstruction) -> bool:
    shape, group = draft.reference.weight_shape(node.input(1)), int(node.attr("group", 1))
    if node.op == "ConvTranspose":
        return False
    flat = (group, shape[0] // group, int(np.prod(shape[1:])))
    turned = flat if node.op == "Conv" or node.attr("transB", 0) else (1, shape[1], shape[0])
    return len(_blocks(turned, draft.plan.weights[node.name, 1].block, settings)) > 1


@dataclass(frozen=True, eq=False)
class _Layer:
    weights: Array | None
    bias: Array | None
    params: QuantParams


class _Bench:
    """The layers done so far."""

    def __init__(self, draft: Draft, lab: Lab, settings: Reconstruction, rounding: Rounding | None) -> None:
        self.draft, self.lab, self.settings, self._rounding = draft, lab, settings, rounding
        self.quantized = lab.emit(draft.with_(plan=simulated(draft.plan)))
        self.layers: dict[str, _Layer] = {}

    def visit(self, station: Station) -> tuple[Array, Array | None]:
        """Reconstruct one layer."""
        node = station.node
        original = self.draft.reference.weights[node.input(1)].numpy()
        params = self.draft.weights[node.name, 1]
        plan = self.draft.plan.weights[node.name, 1]
        shared = self._shared(node)
        weights, params = (
            (fake_quantize(original, params), params) if shared else self._weights(station, original, params, plan)
        )
        bias = self.draft.reference.constant(node.input(2)) if node.input(2) else None
        if self.settings.gain and not shared:
            weights, params = self._scaled(station, weights, params, bias)
        fixed = self._bias(station, weights, bias)
        self.layers[node.name] = _Layer(None if shared else weights, fixed, params)
        return weights, fixed if fixed is not None else bias

    def _shared(self, node: Node) -> bool:
        """Whether other nodes read the weight too, or its numbers: each would round it in its own way."""
        name, ties = node.input(1), self.draft.plan.ties
        own = self.draft.graph.by_name[node.name].input(1)
        return len(self.draft.graph.consumers_of(own)) > 1 or name in ties or name in ties.values()

    def _weights(
        self, station: Station, original: Array, params: QuantParams, plan: WeightPlan
    ) -> tuple[Array, QuantParams]:
        node = station.node
        if not self.settings.rounding or node.op == "ConvTranspose" or plan.format.floating:
            return fake_quantize(original, params), params
        if self._rounding is not None and not plan.levels and not plan.block:
            return dequantize(self._rounding(station, original, params).astype(params.format.dtype), params), params
        matrix = to_matrix(node, original)  # [G, O/G, K]
        parts = self._parts(station, original, matrix, plan)
        if plan.levels:
            levels, found = on_levels([(p.target, p.gram, p.damping) for p in parts], plan)
            return from_matrix(node, levels, original.shape).astype(np.float32), replace(found, axis=plan.axis)
        coarse = plan.axis is None or plan.format.bits < 8
        target = np.concatenate([part.target for part in parts], axis=2)
        whole = from_matrix(node, target, original.shape)
        method = "min-max" if coarse and not plan.block and len(parts) == 1 else self.lab.calibration.weights
        codes, params = fitted(parts, constant_params(whole.astype(np.float32), plan, method), coarse)
        params = self._with_room(node, params)
        codes = from_matrix(node, codes, original.shape)
        return dequantize(codes.astype(params.format.dtype), params), params

    def _scaled(
        self, station: Station, weights: Array, params: QuantParams, bias: Array | None
    ) -> tuple[Array, QuantParams]:
        """The same codes with scales that fit the layer's output, where each channel has a scale."""
        node = station.node
        given = params.format.exponents is not None or params.format.floating or params.table is not None
        if given or params.axis is None or params.block or node.op == "ConvTranspose":
            return weights, params
        produced = run_layer(node, station.got_in, weights, bias, self.lab.options.threads)
        factors = gains(station.wanted_out, produced, 1 if node.op == "Conv" else -1)
        new = self._with_room(node, replace(params, scale=(params.scale * factors).astype(np.float32)))
        return dequantize(quantize(weights, params), new), new

    def _parts(self, station: Station, original: Array, matrix: Array, plan: WeightPlan) -> list[Part]:
        """What is rounded, in blocks of inputs; each aims at what those before it leave over."""
        node, threads = station.node, self.lab.options.threads
        lacking = self._lacking(station, original, plan)
        parts: list[Part] = []
        for inputs in _blocks(matrix.shape, plan.block, self.settings):
            part = self._part(station, original.shape, matrix[..., inputs], inputs, lacking, plan)
            parts.append(part)
            if lacking is not None and inputs.stop < matrix.shape[2]:
                change = np.zeros_like(matrix)
                change[..., inputs] = part.target - matrix[..., inputs]
                weights = from_matrix(node, change, original.shape).astype(np.float32)
                made = run_layer(node, station.got_in, weights, None, threads)
                lacking = [e - m for e, m in zip(lacking, made, strict=True)]
        return parts

    def _part(
        self,
        station: Station,
        kernel: tuple[int, ...],
        matrix: Array,
        inputs: slice,
        lacking: Sequence[Array] | None,
        plan: WeightPlan,
    ) -> Part:
        node, got, centred = station.node, station.got_in, self._corrects(station.node)
        halves = [
            sums(node, kernel, None if lacking is None else lacking[n::2], got[n::2], inputs)
            for n in range(min(2, len(got)))
        ]
        found = sum(halves[1:], halves[0]).moments(centred)
        few = found.rows < 4 * matrix.shape[2] or plan.format.bits < _MANY_BITS
        pull = damping = self.settings.damping * (10 if few else 1)
        if lacking is not None and len(got) >= _ENOUGH:
            first, second = (half.moments(centred) for half in halves)
            pull = suited_pull(matrix, (first, second), damping)
        return Part(inputs, targets(matrix, found.gram, found.cross, pull), found.gram, damping)

    def _lacking(self, station: Station, original: Array, plan: WeightPlan) -> list[Array] | None:
        """What the output lacks on the delivered input with the real weights, one array a sample; None where that is not asked."""
        if not self._aims_at_float(plan):
            return None
        node = station.node
        bias = self.draft.reference.constant(node.input(2)) if node.input(2) else None
        made = run_layer(node, station.got_in, original, bias, self.lab.options.threads)
        return [wanted - m for wanted, m in zip(station.aim, made, strict=True)]

    def _aims_at_float(self, plan: WeightPlan) -> bool:
        """Whether the output of the FP32 input is what the layer's weights are fitted to."""
        coarse = plan.format.bits <= _FEW_BITS if plan.levels else plan.format.bits < _MANY_BITS
        return coarse if self.settings.asymmetric is None else self.settings.asymmetric

    def _with_room(self, node: Node, params: QuantParams) -> QuantParams:
        """Parameters under which the layer's bias fits into int32."""
        bias = self.draft.reference.constant(node.input(2)) if node.input(2) else None
        reading = self.draft.activations.get(node.input(0))
        return params if bias is None or reading is None else fit_bias(params, reading.scale, bias)

    def _corrects(self, node: Node) -> bool:
        """Whether a bias takes the mean error back."""
        return self.settings.bias and node.op != "MatMul"

    def _bias(self, station: Station, weights: Array, bias: Array | None) -> Array | None:
        """The corrected bias [C]; None where the layer cannot have one."""
        node = station.node
        if not self._corrects(node):
            return None
        axis = 1 if node.op in ("Conv", "ConvTranspose") else -1
        produced = run_layer(node, station.got_in, weights, bias, self.lab.options.threads)
        coarse = self._aims_at_float(self.draft.plan.weights[node.name, 1])
        wanted = station.aim if coarse else station.wanted_out
        shift, error, _ = stacked_mean([w - p for w, p in zip(wanted, produced, strict=True)], axis)
        correction = shift * np.maximum(0.0, 1.0 - np.square(error) / np.maximum(np.square(shift), 1e-30))
        start = np.zeros(correction.shape) if bias is None else np.broadcast_to(bias.reshape(-1), correction.shape)
        return np.asarray(start + correction, dtype=np.float32)

    def result(self) -> Draft:
        """The draft with all layers' new constants, each layer with constants of its own."""
        edit = Edit(self.draft.graph)
        params = dict(self.draft.weights)
        for name, layer in self.layers.items():
            node = self.draft.graph.by_name[name]
            inputs = [*node.inputs, *[""] * (3 - len(node.inputs))] if layer.bias is not None else list(node.inputs)
            if layer.weights is not None:
                inputs[1] = edit.add_weight(f"{node.input(1)}/rounded", layer.weights)
            if layer.bias is not None:
                inputs[2] = edit.add_weight(f"{node.input(2) or node.name}/bias", layer.bias)
            edit.replace(node, node.with_(inputs=tuple(inputs)))
            params[name, 1] = layer.params
        return self.draft.with_(graph=edit.graph(), weights=params)


def simulated(plan: Plan) -> Plan:
    """The plan with layers of float inputs left float, for a walk that computes them itself."""
    kinds = (Kind.DYNAMIC, Kind.WEIGHT_ONLY)
    nodes = {name: replace(p, kind=Kind.FLOAT) if p.kind in kinds else p for name, p in plan.nodes.items()}
    return replace(plan, nodes=nodes)
