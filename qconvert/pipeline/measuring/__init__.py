"""What is proved of a file before it has a name, and what is measured on it.

`proof.prove` runs it as its target names it, `measure.measure` gives accuracy, size, latency and the error of every layer;
`emulation` repeats results on other cores, `pictures` shows samples.
"""
