"""Ranges in the files of other tools: calibration caches of TensorRT, encodings of AIMET."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import QConvertError, fail
from ..lift import Grid, Span
from .params import QuantParams

TENSORRT_HEAD = "TRT-10000-EntropyCalibration2"
_UNSIGNED = {8: "uint8", 16: "uint16"}


def read_ranges(path: Path) -> dict[str, Span]:
    """Intervals by tensor name from a calibration cache of TensorRT, or from AIMET's encodings 0.6.1 and 1.0.0.

    Raises:
        QConvertError: R015 where the file is neither or is damaged.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise fail("R015", f"the table cannot be read: {error}", path, "check the path") from error
    try:
        return _tensorrt(text) if text.startswith("TRT-") else _aimet(json.loads(text))
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, struct.error) as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> QConvertError:
    text = f"neither a calibration cache of TensorRT nor encodings of AIMET: {error or type(error).__name__}"
    return fail("R015", text, path, "a cache begins with `TRT-`, encodings are JSON with `activation_encodings`")


def _tensorrt(text: str) -> dict[str, Span]:
    """Lines `name: hex`: the bits of the float32 scale of int8 codes without zero point, most significant byte first."""
    found = {}
    for line in (line.strip() for line in text.splitlines()[1:]):
        if line:
            name, _, digits = line.rpartition(":")
            (scale,) = struct.unpack(">f", bytes.fromhex(digits.strip().zfill(8)))
            found[name.strip()] = _symmetric(scale)
    return found


def _symmetric(scale: float) -> Span:
    if not (np.isfinite(scale) and scale > 0):
        raise ValueError(f"a scale is {scale}")
    return Span(-127 * scale, 127 * scale, Grid("int8", scale, 0))


def _aimet(content: Mapping[str, Any]) -> dict[str, Span]:
    encodings = content["activation_encodings"]
    if isinstance(encodings, list):
        rows = [(e["name"], e, e.get("bw", 8)) for e in encodings]
    else:
        rows = [(name, several[0], several[0].get("bitwidth", 8)) for name, several in encodings.items()]
    known = [(name, e, bits) for name, e, bits in rows if str(e.get("dtype", "int")).lower() == "int"]
    return {name: _encoded(int(bits), _first(e["scale"]), _first(e["offset"])) for name, e, bits in known}


def _first(value: Any) -> float:
    """A number that newer encodings keep in a list."""
    return float(value[0] if isinstance(value, list) else value)


def _encoded(bits: int, scale: float, offset: float) -> Span:
    """AIMET's real value is scale * (code + offset), codes from 0."""
    if not (np.isfinite(scale) and scale > 0):
        raise ValueError(f"a scale is {scale}")
    zero, top = -round(offset), (1 << bits) - 1
    grid = Grid(_UNSIGNED[bits], float(scale), zero) if bits in _UNSIGNED and 0 <= zero <= top else None
    return Span(scale * -zero, scale * (top - zero), grid)


# --- written -------------------------------------------------------------------------------------------------------------


def tensorrt_cache(activations: Mapping[str, QuantParams], weights: Mapping[str, QuantParams]) -> str:
    """A calibration cache: the scale that covers each range with int8 codes without zero point."""
    lines = (f"{name}: {struct.pack('>f', _int8_scale(params)).hex()}" for name, params in activations.items())
    return "\n".join([TENSORRT_HEAD, *lines]) + "\n"


def _int8_scale(params: QuantParams) -> float:
    if params.format.symmetric and params.format.dtype == "int8":
        return float(params.scale)
    return max(-float(params.low), float(params.high)) / 127


def aimet_encodings(activations: Mapping[str, QuantParams], weights: Mapping[str, QuantParams]) -> str:
    """AIMET's encodings 1.0.0; blocks of weights have no place in them."""
    content = {
        "version": "1.0.0",
        "activation_encodings": [_row(name, p) for name, p in activations.items()],
        "param_encodings": [_row(name, p) for name, p in weights.items() if not p.block],
        "quantizer_args": {},
    }
    return json.dumps(content, indent=1) + "\n"


def _row(name: str, params: QuantParams) -> dict[str, Any]:
    bits, scale = params.format.bits, params.scale.reshape(-1)
    lowest = 0 if params.format.dtype.startswith("u") else -(1 << (bits - 1))
    offsets = lowest - params.zero_point.reshape(-1).astype(np.int64)
    return {
        "name": name,
        "bw": bits,
        "dtype": "INT",
        "enc_type": "PER_TENSOR" if params.axis is None else "PER_CHANNEL",
        "is_sym": params.format.symmetric,
        "offset": [int(o) for o in offsets],
        "scale": [float(s) for s in scale],
    }


Writer = Callable[[Mapping[str, QuantParams], Mapping[str, QuantParams]], str]
RANGE_TABLES: dict[str, tuple[str, Writer]] = {  # what is appended to the stem of the model, and the content
    "tensorrt": (".calibration.cache", tensorrt_cache),
    "aimet": (".encodings", aimet_encodings),
}
