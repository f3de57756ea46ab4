"""Full-integer .tflite files from a plan: a table-driven writer, layout views, and one lowering a kind of operator.

Sources: `schema.fbs` of TensorFlow Lite, the int8 quantization specification, and the kernels of TensorFlow Lite for
Microcontrollers, which alone decide what may be written here.
"""

from .model import Artefact, Binding, File, Op, Tensor
from .schema import OPERATORS
from .write import Options, emit_tflite
from .writer import pack

__all__ = ["OPERATORS", "Artefact", "Binding", "File", "Op", "Options", "Tensor", "emit_tflite", "pack"]
