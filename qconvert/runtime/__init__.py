"""The only place that opens onnxruntime sessions and times them."""

from .session import Feed, Options, Runnable, Session, opened
from .shapes import assumed_inputs, concrete_shapes, observe, synthetic_feed
from .timing import host_name

__all__ = [
    "Feed",
    "Options",
    "Runnable",
    "Session",
    "assumed_inputs",
    "concrete_shapes",
    "host_name",
    "observe",
    "opened",
    "synthetic_feed",
]
