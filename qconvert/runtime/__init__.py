"""The only place that opens onnxruntime sessions and times them."""

from .memory import available_memory
from .open import opened, opened_file
from .session import Feed, Options, Runnable, Session, is_large, is_large_file
from .shapes import assumed_inputs, concrete_shapes, observe, synthetic_feed
from .timing import host_name

__all__ = [
    "Feed",
    "Options",
    "Runnable",
    "Session",
    "assumed_inputs",
    "available_memory",
    "concrete_shapes",
    "host_name",
    "is_large",
    "is_large_file",
    "observe",
    "opened",
    "opened_file",
    "synthetic_feed",
]
