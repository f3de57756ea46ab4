"""Model files of any kind and origin: how they are run, fitted to one question, read and drawn.

`runners.open_runner` runs an ONNX or .tflite file, `fitting.fitted` makes models comparable that differ in names and layout,
`sides` says what a file holds in one form for all, `drawing.draw_model` makes a picture.
"""
