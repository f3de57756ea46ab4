"""qconvert: FP32 ONNX models to proven INT8 models."""

__version__ = "0.1.0"
