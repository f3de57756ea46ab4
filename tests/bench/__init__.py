"""Benchmarks on real trained models, side by side with onnxruntime's own quantizer: `python -m tests.bench`."""
