"""One streaming pass gives mergeable sketches; range methods are pure functions of a sketch."""

from .collect import Observer, collect, watchable
from .given import params_for_span
from .methods import RANGE_METHODS, MethodOptions
from .params import QuantParams, dequantize, fake_quantize, params_fixed, params_for_range, params_for_scale, quantize
from .ranges import activation_params, block_rows, constant_params, fit_bias, table_params, weight_params
from .sketch import Sketch, Sketcher, sketch_of
from .tables import RANGE_TABLES, read_ranges

__all__ = [
    "RANGE_METHODS",
    "RANGE_TABLES",
    "MethodOptions",
    "Observer",
    "QuantParams",
    "Sketch",
    "Sketcher",
    "activation_params",
    "block_rows",
    "collect",
    "constant_params",
    "dequantize",
    "fake_quantize",
    "fit_bias",
    "params_fixed",
    "params_for_range",
    "params_for_scale",
    "params_for_span",
    "quantize",
    "read_ranges",
    "sketch_of",
    "table_params",
    "watchable",
    "weight_params",
]
