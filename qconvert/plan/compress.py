"""Weight-only: which constants of float layers are stored in few bits, and in which of the target's forms."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from math import prod

from ..errors import QConvertError, fail
from ..graph import Graph, Node
from ..ops import Role, inputs_with, weight_axis
from ..recipe.types import Change, Recipe
from ..targets.formats import Format
from ..targets.kernels import WeightForm
from ..targets.model import Target
from .limits import Call, first_broken
from .model import Reason, WeightPlan

_SCALE_BITS = 32
_GIVEN_BITS = {"binary": 1, "ternary": 2, "nvfp4": 4, "mxfp8": 8}
SMALLEST = 1024  # bytes of float32; the nodes that rebuild a smaller weight take more than it gives
LOOKUP_BYTES = 65_536  # smaller tables are not worth the extra nodes


@dataclass(frozen=True, slots=True)
class Wish:
    """What the recipe asks for; None leaves it to the form."""

    bits: int = 8
    block: int | None = None
    symmetric: bool | None = None
    levels: str = ""

    @classmethod
    def of(cls, rule: Change, recipe: Recipe, target: Target) -> Wish:
        """The wish of a node's merged rules; 8 bits or what the target has at most, where they do not say."""
        if rule.levels or (rule.mode or recipe.mode) == "codebook":
            levels = rule.levels or "k-means"
            return cls(_GIVEN_BITS.get(levels) or rule.weight_bits or 4, rule.block, rule.weight_symmetric, levels)
        most = max((b for form in target.weight_forms if "" in form.levels for b in form.bits if b <= 8), default=8)
        return cls(rule.weight_bits or most, rule.block, rule.weight_symmetric)


def stored_inputs(node: Node, graph: Graph) -> tuple[int, ...]:
    """Indices of the constants of a layer that are worth storing in few bits."""
    wanted = (0,) if is_table(node, graph) else inputs_with(node, Role.WEIGHT)
    return tuple(i for i in wanted if _worth(graph, node.input(i)))


def _worth(graph: Graph, name: str) -> bool:
    if name not in graph.weights or name in graph.inputs or graph.type_of(name).dtype != "float32":
        return False
    shape = graph.weight_shape(name)
    return len(shape) >= 2 and 4 * prod(shape) >= SMALLEST


def is_table(node: Node, graph: Graph) -> bool:
    """Whether a node picks rows of a constant float table."""
    return (
        node.op == "Gather"
        and node.domain == ""
        and node.attr("axis", 0) == 0
        and node.input(0) in graph.weights
        and graph.type_of(node.input(0)).dtype == "float32"
        and len(graph.weight_shape(node.input(0))) == 2
    )


def chosen_form(call: Call, target: Target, format_: str | None, wish: Wish) -> tuple[WeightForm, int] | Reason:
    """The first of the target's forms that takes the layer, and its block; or why its weight stays as it is.

    Args:
        format_: the recipe's `format`, None for any.
    """
    forms = [f for f in _forms(target, format_, wish) if call.node.key in f.ops]
    if not forms:
        how = f"as `{wish.levels}`" if wish.levels else "in few bits"
        return Reason("P012", f"{target.title} has no form for the weight of {call.node.op} {how}")
    broken: Reason | None = None
    for form in forms:
        block = _block(form, wish, _length(call))
        if wish.bits in form.bits and block in form.blocks and (form.asymmetric or wish.symmetric is not False):
            reason = _undivided(_length(call), block) if form.divides else None
            reason = reason or first_broken(form.limits, call)
            if reason is None:
                return form, block
            broken = broken or reason
    return broken or Reason("P012", f"no form for the weight of {call.node.op} takes {_words(wish)}")


def _forms(target: Target, format_: str | None, wish: Wish) -> list[WeightForm]:
    fit = [f for f in target.weight_forms if format_ is None or f.format in ("", format_)]
    return [f for f in fit if wish.levels in f.levels]


def _length(call: Call) -> int:
    """Weights of a channel."""
    shape = call.shape(next(iter(stored_inputs(call.node, call.graph))))
    return prod(shape) // shape[_axis(call.node, call.graph, len(shape))]


def _block(form: WeightForm, wish: Wish, length: int) -> int:
    """The block of a layer: as wished, but none that is larger than the channel; or the one that stores least."""
    wished = dict(form.default_block).get(wish.bits, 0) if wish.block is None else wish.block
    allowed = [b for b in form.blocks if 0 < b <= wished]
    if not wished or wished not in form.blocks:
        return wished
    if wish.block is not None:
        return next((b for b in sorted(allowed) if b >= length), wished)
    return min(allowed, key=lambda b: (-(-length // b) * (b * wish.bits + _SCALE_BITS), -b))


def _undivided(length: int, block: int) -> Reason | None:
    if not block or length % block == 0:
        return None
    return Reason("P012", f"blocks of {block} do not divide the {length} weights of a channel")


def refuse_contradiction(rule: Change, where: str) -> None:
    """Refuse a width that a table of levels cannot have.

    Raises:
        QConvertError: R009.
    """
    own = _GIVEN_BITS.get(rule.levels or "")
    if own is not None and rule.weight_bits not in (None, own):
        text = f"`levels: {rule.levels}` has {own} bit{'s' if own > 1 else ''} and not {rule.weight_bits}"
        raise fail("R009", text, where, f"set the bits to {own}, or choose other levels")


def refuse_impossible(target: Target, format_: str | None, wish: Wish, where: str) -> None:
    """Refuse what no form of the target can store, whatever the layer.

    Raises:
        QConvertError: R009 with the nearest choice that it can.
    """
    forms = _forms(target, format_, wish)
    if not forms and wish.levels:
        raise fail("R009", f"{target.title} has no form for tables of levels", where, _instead(target))
    if not forms:
        other = f" in format `{format_}`" if target.weight_forms else ""
        hint = "leave `format` open" if target.weight_forms else _instead(target)
        raise fail("R009", f"{target.title} has no weight-only form{other}", where, hint)
    of_bits = [f for f in forms if wish.bits in f.bits]
    if not of_bits:
        tables = any(f.levels and "" not in f.levels and wish.bits in f.bits for f in target.weight_forms)
        other = f", or `mode: codebook`, which takes {wish.bits} bits" if tables and not wish.levels else ""
        raise _none(target, "bits", wish.bits, (b for f in forms for b in f.bits), where, other)
    of_block = [f for f in of_bits if wish.block is None or wish.block in f.blocks]
    if not of_block:
        raise _none(target, "block", wish.block or 0, (b for f in of_bits for b in f.blocks), where)
    if wish.symmetric is False and not any(f.asymmetric for f in of_block):
        plain = _words(replace(wish, symmetric=None))
        raise fail("R009", f"{target.title} stores {plain} without zero points", where, "set `symmetric: true`")


def _instead(target: Target) -> str:
    """What a target can do in place of a codebook."""
    if target.weight_forms:
        bits = min(b for f in target.weight_forms if "" in f.levels for b in f.bits)
        return f"choose `mode: weight-only` with `weights: {{bits: {bits}}}`"
    small = ", with `weights: {bits: 4}` for less flash" if target.formats.small_weight is not None else ""
    return f"choose `mode: static`{small}"


def _none(target: Target, key: str, value: int, known: Iterable[int], where: str, other: str = "") -> QConvertError:
    choices = sorted(set(known))
    near = min(choices, key=lambda choice: (abs(choice - value), -choice))
    listed = ", ".join(map(str, choices))
    return fail(
        "R009",
        f"{target.title} stores no weights with {key} {value}, only {listed}",
        where,
        f"set `{key}: {near}`{other}",
    )


def _words(wish: Wish) -> str:
    block = "" if wish.block is None else f" with a scale for {wish.block}" if wish.block else " with a scale a channel"
    return f"{wish.bits} bits{block}{' and zero points' if wish.symmetric is False else ''}"


def stored_plan(node: Node, index: int, graph: Graph, form: WeightForm, block: int, wish: Wish) -> WeightPlan:
    """How one constant is stored."""
    shape = graph.weight_shape(node.input(index))
    axis = _axis(node, graph, len(shape))
    if wish.levels:
        return WeightPlan(Format("uint8", symmetric=False, bits=wish.bits), axis, block, form, levels=wish.levels)
    symmetric = not form.asymmetric if wish.symmetric is None else wish.symmetric
    format_ = Format(f"{'' if symmetric else 'u'}int{wish.bits}", symmetric, narrow=wish.bits == 8, bits=wish.bits)
    return WeightPlan(format_, axis, block, form)


def _axis(node: Node, graph: Graph, rank: int) -> int:
    """Axis along which scales differ; as the weight is rebuilt in float, any will do where integer kernels have none."""
    axis = None if is_table(node, graph) else weight_axis(node, rank)
    return 0 if axis is None else axis
