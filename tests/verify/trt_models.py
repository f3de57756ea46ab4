"""Q/DQ blocks as TensorRT likes them, written by hand after its placement rules: none of them deserves a finding."""

from __future__ import annotations

import numpy as np
from trt_build import Net

from qconvert.graph import Graph


def resnet(shortcut: bool) -> Graph:
    """Stem, max pool, one basic block and the head of a ResNet; the shortcut is the identity or a 1x1 convolution."""
    net = Net()
    x = net.input(4, 3, 32, 32)
    x = net.op("Relu", net.conv(net.pair(x), 3, 64, 7, name="stem"))
    x = net.op("MaxPool", net.pair(x), kernel_shape=(2, 2), strides=(2, 2))
    a = net.op("Relu", net.conv(x, 64, 64, name="conv1", stride=2 if shortcut else 1))
    a = net.conv(net.pair(a), 64, 64, name="conv2")
    skip = net.pair(net.conv(x, 64, 64, 1, name="down", stride=2), 0.3) if shortcut else x
    y = net.op("Relu", net.op("Add", a, skip, name="add"))
    y = net.op("GlobalAveragePool", net.pair(y, 0.2))
    y = net.pair(net.op("Flatten", y), 0.05)
    w = net.paired((100, 64), 0, "fc_w")
    return net.graph(net.op("Gemm", y, w, net.const(np.zeros(100, np.float32)), transB=1, name="fc"))


def resnet_stages() -> Graph:
    """Two identity blocks, so that one Q/DQ pair serves a convolution and a skip input."""
    net = Net()
    x = net.pair(net.input(1, 32, 16, 16))
    for i in range(2):
        a = net.op("Relu", net.op("BatchNormalization", net.conv(x, 32, 32, name=f"a{i}"), *_norm(net, 32)))
        b = net.op("BatchNormalization", net.conv(net.pair(a), 32, 32, name=f"b{i}"), *_norm(net, 32))
        x = net.op("Relu", net.op("Add", b, x, name=f"add{i}"))
        x = net.pair(x, 0.2 + i) if i == 0 else x
    return net.graph(net.op("GlobalAveragePool", x))


def _norm(net: Net, n: int) -> list[str]:
    return [net.const(np.ones(n, np.float32)) for _ in range(4)]


def mobilenet() -> Graph:
    """An inverted residual: expansion, depthwise, projection, with Clip, and the skip input quantized."""
    net = Net()
    lo, hi = net.const(np.float32(0)), net.const(np.float32(6))
    x = net.pair(net.input(1, 32, 16, 16))
    a = net.op("Clip", net.conv(x, 32, 96, 1, name="expand"), lo, hi)
    b = net.op("Clip", net.conv(net.pair(a), 96, 96, 3, 96, name="depthwise"), lo, hi)
    c = net.op("Add", net.conv(net.pair(b), 96, 32, 1, name="project"), x, name="add")
    d = net.op("Clip", net.conv(net.pair(c, 0.4), 32, 96, 1, name="next"), lo, hi)
    return net.graph(net.op("GlobalAveragePool", d))


def transformer(quantized_attention: bool = True, length: int = 64, head: int = 32) -> Graph:
    """One encoder block with biases as Add, float residuals and norms, and attention with Q/DQ (or float)."""
    net = Net()
    n, heads = 2 * head, 2
    x = net.input(1, length, n)
    h = net.pair(net.op("LayerNormalization", x, *[net.const(np.ones(n, np.float32)) for _ in range(2)], name="ln1"))
    q, k, v = (net.dense(h, n, n, name=name) for name in "qkv")
    shape = net.const(np.array([1, length, heads, head], np.int64))
    q, k, v = (net.op("Reshape", t, shape) for t in (q, k, v))
    q = net.op("Mul", net.op("Transpose", q, perm=(0, 2, 1, 3)), net.const(np.float32(0.2)))
    k = net.op("Transpose", k, perm=(0, 2, 3, 1))
    v = net.op("Transpose", v, perm=(0, 2, 1, 3))
    q, k, v = (net.pair(t) if quantized_attention else t for t in (q, k, v))
    p = net.op("Softmax", net.op("MatMul", q, k, name="bmm1"), axis=-1)
    c = net.op("MatMul", net.pair(p, 1 / 127) if quantized_attention else p, v, name="bmm2")
    c = net.op("Reshape", net.op("Transpose", c, perm=(0, 2, 1, 3)), net.const(np.array([1, length, n], np.int64)))
    x = net.op("Add", net.dense(net.pair(c), n, n, name="out"), x, name="add1")
    h = net.pair(net.op("LayerNormalization", x, *[net.const(np.ones(n, np.float32)) for _ in range(2)], name="ln2"))
    h = net.op("Gelu", net.dense(h, n, 4 * n, name="up"))
    return net.graph(net.op("Add", net.dense(net.pair(h), 4 * n, n, name="down"), x, name="add2"))


def convnext() -> Graph:
    """Depthwise 7x7, layer norm, two dense layers with a written-out GELU; the conv in front of the norm has Q/DQ behind it."""
    net = Net()
    x = net.input(1, 64, 14, 14)
    h = net.conv(net.pair(x), 64, 64, 7, 64, name="depthwise")
    h = net.op("Transpose", net.pair(h), perm=(0, 2, 3, 1))
    h = net.op("LayerNormalization", h, *[net.const(np.ones(64, np.float32)) for _ in range(2)])
    h = net.dense(net.pair(h), 64, 256, name="up")
    erf = net.op("Erf", net.op("Div", h, net.const(np.float32(1.41))))
    h = net.op("Mul", net.op("Mul", h, net.op("Add", erf, net.const(np.float32(1)))), net.const(np.float32(0.5)))
    h = net.op("Transpose", net.dense(net.pair(h), 256, 64, name="down"), perm=(0, 3, 1, 2))
    return net.graph(net.op("Add", h, x, name="add"))


def squeeze_excite() -> Graph:
    """Convolution with SiLU, squeeze and excitation, projection with a skip input."""
    net = Net()
    x = net.pair(net.input(1, 32, 16, 16))
    a = net.conv(x, 32, 64, 1, name="expand")
    a = net.pair(net.op("Mul", a, net.op("Sigmoid", a)), 0.2)
    s = net.pair(net.op("GlobalAveragePool", a), 0.05)
    s = net.op("Relu", net.conv(s, 64, 16, 1, name="squeeze"))
    s = net.op("Sigmoid", net.conv(net.pair(s), 16, 64, 1, name="excite"))
    g = net.pair(net.op("Mul", a, s, name="gate"), 0.15)
    y = net.op("Add", net.conv(g, 64, 32, 1, name="project"), x, name="add")
    return net.graph(net.op("Relu", net.conv(net.pair(y), 32, 32, name="last")))


def concat() -> Graph:
    """Two branches that meet in a Concat with one scale, as in Inception; a third comes float and takes the Q behind."""
    net = Net()
    x = net.pair(net.input(1, 32, 16, 16))
    a = net.pair(net.op("Relu", net.conv(x, 32, 32, 1, name="a")), 0.2)
    b = net.pair(net.op("Relu", net.conv(x, 32, 32, 3, name="b")), 0.2)
    c = net.op("Relu", net.conv(x, 32, 32, 3, name="c"))
    y = net.pair(net.op("Concat", a, b, c, axis=1, name="cat"), 0.2)
    return net.graph(net.op("Relu", net.conv(y, 96, 32, 1, name="last")))


def yolo() -> Graph:
    """A bottleneck whose branch ends in SiLU: the Add is no residual one for TensorRT, both inputs are quantized."""
    net = Net()
    x = net.pair(net.input(1, 32, 16, 16))
    a = net.conv(x, 32, 32, name="cv1")
    a = net.pair(net.op("Mul", a, net.op("Sigmoid", a)), 0.3)
    b = net.conv(a, 32, 32, name="cv2")
    b = net.pair(net.op("Mul", b, net.op("Sigmoid", b)), 0.4)
    y = net.pair(net.op("Add", b, x, name="add"), 0.5)
    return net.graph(net.op("Relu", net.conv(y, 32, 32, name="cv3")))


IDEAL = {
    "resnet-identity": lambda: resnet(False),
    "resnet-shortcut": lambda: resnet(True),
    "resnet-stages": resnet_stages,
    "mobilenet": mobilenet,
    "transformer": transformer,
    "transformer-float-attention": lambda: transformer(False),
    "convnext": convnext,
    "squeeze-excite": squeeze_excite,
    "concat": concat,
    "yolo": yolo,
}
