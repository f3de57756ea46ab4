"""The sample networks in PyTorch, each of which can write itself as an ONNX graph.

The graphs are built node by node, not by torch's exporter, so that their names are readable and their
structure is exactly what a quantizer should be tried on: unfused BatchNormalization, residual Adds, Clip,
an attention mask, and LayerNormalization both as one operator and as a chain of nodes.
"""

from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any

import numpy as np
import onnx
import torch
import torch.nn.functional as F
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

Input = str | float | list[int] | Tensor  # a tensor's name, or a constant
Shape = list[str | int]


@dataclass
class Graph:
    """Collects nodes and initializers, named after the layers they belong to."""

    nodes: list[onnx.NodeProto] = field(default_factory=list)
    initializers: list[TensorProto] = field(default_factory=list)

    def constant(self, name: str, value: float | list[int] | Tensor) -> str:
        """Add an initializer, float32 or int64, and return its name."""
        array = value.detach().numpy() if isinstance(value, Tensor) else np.array(value)
        array = array.astype(np.float32 if array.dtype.kind == "f" else np.int64, order="C")
        self.initializers.append(numpy_helper.from_array(array, name))
        return name

    def op(self, kind: str, name: str, *inputs: Input, out: str = "", **attributes: Any) -> str:
        """Add a node and return its output's name; inputs that are no names become initializers."""
        formals = onnx.defs.get_schema(kind, 17, "").inputs
        names = [
            value if isinstance(value, str) else self.constant(f"{name}_{formal.name}", value)
            for value, formal in zip_longest(inputs, formals[: len(inputs)], fillvalue=formals[-1])
        ]
        output = out or f"{name}_out"
        self.nodes.append(helper.make_node(kind, names, [output], name, **attributes))
        return output

    def dense(self, name: str, x: str, layer: nn.Linear) -> str:
        """Add a projection the way transformer exporters write it: MatMul, then Add."""
        product = self.op("MatMul", f"{name}_matmul", x, layer.weight.T)
        return self.op("Add", f"{name}_add", product, layer.bias)

    def model(self, name: str, features: str, head: nn.Linear, inputs: dict[str, Shape]) -> onnx.ModelProto:
        """Add the classifier, which reads ``features``, then assemble and check the model."""
        self.op("Gemm", "classifier", features, head.weight, head.bias, out="logits", transB=1)
        types = {"mask": TensorProto.INT64}
        value_info = helper.make_tensor_value_info
        infos = [value_info(key, types.get(key, TensorProto.FLOAT), shape) for key, shape in inputs.items()]
        output = value_info("logits", TensorProto.FLOAT, ["batch", 10])
        graph = helper.make_graph(self.nodes, name, infos, [output], self.initializers)
        opsets = [helper.make_opsetid("", 17)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=8, producer_name="sample_models")
        onnx.checker.check_model(model, full_check=True)
        return model


class ConvBN(nn.Module):
    """Convolution without bias, BatchNorm and an optional activation ("Relu" or "Clip", the latter 0..6)."""

    def __init__(
        self,
        cin: int,
        cout: int,
        kernel: int,
        stride: int = 1,
        *,
        act: str = "",
        groups: int = 1,
    ) -> None:
        """Create the layers; padding keeps the size at stride 1."""
        super().__init__()
        self.conv = nn.Conv2d(cin, cout, kernel, stride, kernel // 2, groups=groups, bias=False)
        self.bn, self.act = nn.BatchNorm2d(cout), act

    def forward(self, x: Tensor) -> Tensor:
        """Run the block in torch."""
        y: Tensor = self.bn(self.conv(x))
        return F.relu(y) if self.act == "Relu" else F.relu6(y) if self.act == "Clip" else y

    def emit(self, g: Graph, name: str, x: str) -> str:
        """Add the block's nodes to ``g`` and return the output's name."""
        conv, bn = self.conv, self.bn
        size, stride, pad = conv.kernel_size[0], conv.stride[0], conv.kernel_size[0] // 2
        x = g.op("Conv", f"{name}_conv", x, conv.weight, kernel_shape=[size] * 2, strides=[stride] * 2,
                 pads=[pad] * 4, group=conv.groups)  # fmt: skip
        stats = (bn.get_buffer("running_mean"), bn.get_buffer("running_var"))
        x = g.op("BatchNormalization", f"{name}_bn", x, bn.weight, bn.bias, *stats, epsilon=bn.eps)
        limits = (0.0, 6.0) if self.act == "Clip" else ()
        return g.op(self.act, f"{name}_{self.act.lower()}", x, *limits) if self.act else x


class BasicBlock(nn.Module):
    """ResNet's basic block: two 3x3 convolutions and a shortcut, added, then Relu."""

    def __init__(self, cin: int, cout: int, stride: int) -> None:
        """Create the layers; the shortcut is a 1x1 convolution where the shape changes."""
        super().__init__()
        self.conv1 = ConvBN(cin, cout, 3, stride, act="Relu")
        self.conv2 = ConvBN(cout, cout, 3)
        self.shortcut = ConvBN(cin, cout, 1, stride) if stride > 1 or cin != cout else None

    def forward(self, x: Tensor) -> Tensor:
        """Run the block in torch."""
        return F.relu(self.conv2(self.conv1(x)) + (self.shortcut(x) if self.shortcut else x))

    def emit(self, g: Graph, name: str, x: str) -> str:
        """Add the block's nodes to ``g`` and return the output's name."""
        y = self.conv2.emit(g, f"{name}_2", self.conv1.emit(g, f"{name}_1", x))
        skip = self.shortcut.emit(g, f"{name}_shortcut", x) if self.shortcut else x
        return g.op("Relu", f"{name}_relu", g.op("Add", f"{name}_add", y, skip))


class Depthwise(nn.Module):
    """MobileNet's blocks: v1's separable convolution, or with an ``expansion`` v2's inverted residual."""

    def __init__(self, cin: int, cout: int, stride: int = 1, expansion: int = 0, act: str = "") -> None:
        """Create the layers; ``act`` follows the last one."""
        super().__init__()
        wide = cin * (expansion or 1)
        self.expand = ConvBN(cin, wide, 1, act="Relu") if expansion else None
        self.depthwise = ConvBN(wide, wide, 3, stride, groups=wide, act="Clip")
        self.pointwise = ConvBN(wide, cout, 1, act=act)

    def forward(self, x: Tensor) -> Tensor:
        """Run the block in torch."""
        y: Tensor = self.pointwise(self.depthwise(self.expand(x) if self.expand else x))
        return x + y if self.expand else y

    def emit(self, g: Graph, name: str, x: str) -> str:
        """Add the block's nodes to ``g`` and return the output's name."""
        y = self.expand.emit(g, f"{name}_expand", x) if self.expand else x
        y = self.pointwise.emit(g, f"{name}_pw", self.depthwise.emit(g, f"{name}_dw", y))
        return g.op("Add", f"{name}_add", x, y) if self.expand else y


class ConvNet(nn.Module):
    """A chain of named blocks, global average pooling and a linear classifier."""

    def __init__(self, channels: int, blocks: dict[str, nn.Module], width: int) -> None:
        """Take the image's channel count, the blocks in order, and the last block's channel count."""
        super().__init__()
        self.channels = channels
        self.blocks, self.head = nn.ModuleDict(blocks), nn.Linear(width, 10)

    def forward(self, image: Tensor) -> Tensor:
        """Run the network in torch."""
        for block in self.blocks.values():
            image = block(image)
        logits: Tensor = self.head(image.mean((2, 3)))
        return logits

    def export(self, name: str) -> onnx.ModelProto:
        """Build the ONNX model."""
        g, x = Graph(), "image"
        for key, block in self.blocks.items():
            assert isinstance(block, ConvBN | BasicBlock | Depthwise)
            x = block.emit(g, key, x)
        x = g.op("Flatten", "flatten", g.op("GlobalAveragePool", "pool", x), axis=1)
        return g.model(name, x, self.head, {"image": ["batch", self.channels, 32, 32]})


class PoolNet(nn.Module):
    """What PyTorch code does and converters to channels-last trip over: padding of 1 at stride 2, on even and odd sizes.

    Max pooling with padding of values that are mostly negative, average pooling whose last windows hang over the edge
    (``ceil_mode``), two branches joined, and a linear layer on flattened channels.
    """

    size = 28

    def __init__(self) -> None:
        """Create the layers; sizes go 28, 14, 7, 4."""
        super().__init__()
        self.stem, self.down = ConvBN(1, 16, 3, 2), ConvBN(16, 32, 3, 2, act="Relu")
        self.mix, self.head = ConvBN(48, 48, 3, act="Relu"), nn.Linear(48 * 16, 10)

    def forward(self, image: Tensor) -> Tensor:
        """Run the network in torch."""
        x = F.max_pool2d(self.stem(image), 3, 2, padding=1)
        branches = [self.down(x), F.avg_pool2d(x, 2, ceil_mode=True)]
        logits: Tensor = self.head(self.mix(torch.cat(branches, 1)).flatten(1))
        return logits

    def export(self, name: str) -> onnx.ModelProto:
        """Build the ONNX model."""
        g = Graph()
        x = self.stem.emit(g, "stem", "image")
        x = g.op("MaxPool", "maxpool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)
        y = g.op("AveragePool", "avgpool", x, kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1, count_include_pad=1)
        x = self.mix.emit(g, "mix", g.op("Concat", "concat", self.down.emit(g, "down", x), y, axis=1))
        x = g.op("Flatten", "flatten", x, axis=1)
        return g.model(name, x, self.head, {"image": ["batch", 1, self.size, self.size]})


class EncoderLayer(nn.Module):
    """BERT-style (post-norm) encoder layer with separate query, key and value projections."""

    def __init__(self, dim: int, heads: int, decompose_norm: bool) -> None:
        """Create the layers; ``decompose_norm`` writes LayerNorm to ONNX as a chain of simple nodes."""
        super().__init__()
        self.heads, self.head_dim, self.decompose_norm = heads, dim // heads, decompose_norm
        self.query, self.key, self.value, self.out = (nn.Linear(dim, dim) for _ in range(4))
        self.up, self.down = nn.Linear(dim, 2 * dim), nn.Linear(2 * dim, dim)
        self.norm1, self.norm2, self.dropout = nn.LayerNorm(dim), nn.LayerNorm(dim), nn.Dropout(0.1)

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        """Run the layer in torch; ``bias`` is the additive attention mask."""
        parts = [layer(x).unflatten(-1, (self.heads, -1)) for layer in (self.query, self.key, self.value)]
        q, k, v = (part.transpose(1, 2) for part in parts)
        weights = (q @ k.transpose(-1, -2) / self.head_dim**0.5 + bias).softmax(-1)
        x = self.norm1(x + self.dropout(self.out((weights @ v).transpose(1, 2).flatten(2))))
        x = self.norm2(x + self.dropout(self.down(F.gelu(self.up(x)))))
        return x

    def emit(self, g: Graph, name: str, x: str, bias: str) -> str:
        """Add the layer's nodes to ``g`` and return the output's name."""

        def split(part: str, layer: nn.Linear, perm: list[int]) -> str:
            shape = [0, 0, self.heads, self.head_dim]
            y = g.op("Reshape", f"{name}_{part}_split", g.dense(f"{name}_{part}", x, layer), shape)
            return g.op("Transpose", f"{name}_{part}_transpose", y, perm=perm)

        q, k = split("query", self.query, [0, 2, 1, 3]), split("key", self.key, [0, 2, 3, 1])
        v = split("value", self.value, [0, 2, 1, 3])
        y = g.op("Div", f"{name}_scale", g.op("MatMul", f"{name}_scores", q, k), self.head_dim**0.5)
        y = g.op("Softmax", f"{name}_softmax", g.op("Add", f"{name}_mask", y, bias), axis=-1)
        y = g.op("MatMul", f"{name}_context", y, v)
        y = g.op("Transpose", f"{name}_context_transpose", y, perm=[0, 2, 1, 3])
        y = g.op("Reshape", f"{name}_context_merge", y, [0, 0, self.heads * self.head_dim])
        y = g.op("Add", f"{name}_residual1", x, g.dense(f"{name}_out", y, self.out))
        x = self.emit_norm(g, f"{name}_norm1", y, self.norm1)
        y = g.dense(f"{name}_up", x, self.up)
        z = g.op("Erf", f"{name}_gelu_erf", g.op("Div", f"{name}_gelu_div", y, 2**0.5))
        y = g.op("Mul", f"{name}_gelu_mul", y, g.op("Add", f"{name}_gelu_add", z, 1.0))
        y = g.dense(f"{name}_down", g.op("Mul", f"{name}_gelu_half", y, 0.5), self.down)
        return self.emit_norm(g, f"{name}_norm2", g.op("Add", f"{name}_residual2", x, y), self.norm2)

    def emit_norm(self, g: Graph, name: str, x: str, norm: nn.LayerNorm) -> str:
        """Add a layer normalization, as one node or as the chain older exporters write."""
        if not self.decompose_norm:
            return g.op("LayerNormalization", name, x, norm.weight, norm.bias, axis=-1, epsilon=norm.eps)
        x = g.op("Sub", f"{name}_sub", x, g.op("ReduceMean", f"{name}_mean", x, axes=[-1], keepdims=1))
        y = g.op("ReduceMean", f"{name}_var", g.op("Pow", f"{name}_pow", x, 2.0), axes=[-1], keepdims=1)
        y = g.op("Sqrt", f"{name}_sqrt", g.op("Add", f"{name}_eps", y, norm.eps))
        y = g.op("Mul", f"{name}_scale", g.op("Div", f"{name}_div", x, y), norm.weight)
        return g.op("Add", f"{name}_bias", y, norm.bias)


class Transformer(nn.Module):
    """Encoder over padded token sequences: learned positions, masked mean pooling, linear classifier."""

    def __init__(self, max_tokens: int = 16, features: int = 16, dim: int = 64, layers: int = 3) -> None:
        """Create the layers; only the first encoder layer's norms are decomposed in ONNX."""
        super().__init__()
        self.features, self.embed, self.head = features, nn.Linear(features, dim), nn.Linear(dim, 10)
        self.positions = nn.Parameter(0.1 * torch.randn(max_tokens, dim))
        self.layers = nn.ModuleList(EncoderLayer(dim, 4, decompose_norm=i == 0) for i in range(layers))

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """Run the network in torch."""
        valid = mask.float()
        x, bias = self.embed(tokens) + self.positions[: tokens.shape[1]], (1 - valid)[:, None, None] * -10000
        for layer in self.layers:
            x = layer(x, bias)
        logits: Tensor = self.head((x * valid[:, :, None]).sum(1) / valid.sum(1, keepdim=True))
        return logits

    def export(self, name: str) -> onnx.ModelProto:
        """Build the ONNX model."""
        g = Graph()
        bias = g.op("Unsqueeze", "mask_unsqueeze", "mask", [1, 2])
        bias = g.op("Cast", "mask_cast", bias, to=TensorProto.FLOAT)
        bias = g.op("Mul", "mask_bias", g.op("Sub", "mask_invert", 1.0, bias), -10000.0)
        length = g.op("Gather", "tokens_length", g.op("Shape", "tokens_shape", "tokens"), [1], axis=0)
        x = g.op("Slice", "positions_slice", self.positions, [0], length, [0])
        x = g.op("Add", "positions_add", g.dense("embed", "tokens", self.embed), x)
        for i, layer in enumerate(self.layers):
            assert isinstance(layer, EncoderLayer)
            x = layer.emit(g, f"layer{i}", x, bias)
        valid = g.op("Unsqueeze", "pool_unsqueeze", "mask", [2])
        valid = g.op("Cast", "pool_cast", valid, to=TensorProto.FLOAT)
        total = g.op("ReduceSum", "pool_sum", g.op("Mul", "pool_mask", x, valid), [1], keepdims=0)
        x = g.op("Div", "pool_div", total, g.op("ReduceSum", "pool_count", valid, [1], keepdims=0))
        shape: Shape = ["batch", "sequence", self.features]
        return g.model(name, x, self.head, {"tokens": shape, "mask": shape[:2]})


def make_resnet() -> ConvNet:
    """Build digits_resnet: five basic blocks in stages of 16, 32 and 64 channels."""
    blocks: dict[str, nn.Module] = {"stem": ConvBN(1, 16, 3, act="Relu")}
    stages = {"1_1": (16, 16), "1_2": (16, 16), "2_1": (16, 32), "2_2": (32, 32), "3_1": (32, 64)}
    for name, (cin, cout) in stages.items():
        blocks[f"stage{name}"] = BasicBlock(cin, cout, 1 if cin == cout else 2)
    return ConvNet(1, blocks, 64)


def make_mobilenet() -> ConvNet:
    """Build digits_mobilenet: separable blocks, two of them inverted residuals."""
    return ConvNet(3, {
        "stem": ConvBN(3, 32, 3, 2, act="Relu"),
        "block1": Depthwise(32, 48, act="Relu"),
        "block2": Depthwise(48, 64, stride=2, act="Clip"),
        "block3": Depthwise(64, 64, expansion=2),
        "block4": Depthwise(64, 96, stride=2, act="Clip"),
        "block5": Depthwise(96, 96, expansion=3),
        "block6": Depthwise(96, 128, act="Clip"),
    }, 128)  # fmt: skip
