"""The part of the TensorFlow Lite schema that is written and read here, as a table: a slot of a table is its place in the row.

Source: `schema.fbs` (schema version 3, file identifier TFL3). `-` holds the place of a slot that is never used.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

IDENTIFIER = b"TFL3"
VERSION = 3


@dataclass(frozen=True, slots=True)
class Slot:
    """One field of a table.

    Attributes:
        kind: a scalar such as "int32", "string", "union", "bytes" (16-byte aligned), or the name of a table.
        vector: it is a vector of that kind.
        default: what an absent scalar stands for.
    """

    name: str
    kind: str
    vector: bool = False
    default: float = 0


TABLES: dict[str, str] = {
    "Model": "version:uint32 operator_codes:[OperatorCode] subgraphs:[SubGraph] description:string buffers:[Buffer] - metadata:[Metadata]",
    "Metadata": "name:string buffer:uint32",
    "OperatorCode": "deprecated:int8 custom_code:string version:int32=1 code:int32",
    "SubGraph": "tensors:[Tensor] inputs:[int32] outputs:[int32] operators:[Operator] name:string",
    "Buffer": "data:bytes",
    "Tensor": "shape:[int32] type:int8 buffer:uint32 name:string quantization:QuantizationParameters is_variable:bool",
    "QuantizationParameters": "- - scale:[float32] zero_point:[int64] - - axis:int32",
    "Operator": "opcode:uint32 inputs:[int32] outputs:[int32] options_type:uint8 options:union - - - intermediates:[int32]",
    "Conv2DOptions": "padding:int8 stride_w:int32 stride_h:int32 activation:int8 dilation_w:int32=1 dilation_h:int32=1 bias_type:int8",
    "DepthwiseConv2DOptions": "padding:int8 stride_w:int32 stride_h:int32 multiplier:int32 activation:int8 dilation_w:int32=1 dilation_h:int32=1",
    "FullyConnectedOptions": "activation:int8 format:int8 keep_num_dims:bool - bias_type:int8",
    "Pool2DOptions": "padding:int8 stride_w:int32 stride_h:int32 filter_w:int32 filter_h:int32 activation:int8",
    "SoftmaxOptions": "beta:float32",
    "LogSoftmaxOptions": "",
    "AddOptions": "activation:int8 pot:bool=1",
    "SubOptions": "activation:int8 pot:bool=1",
    "MulOptions": "activation:int8",
    "DivOptions": "activation:int8",
    "MaximumMinimumOptions": "",
    "SquaredDifferenceOptions": "",
    "ConcatenationOptions": "axis:int32 activation:int8",
    "ReducerOptions": "keep_dims:bool",
    "ReshapeOptions": "shape:[int32]",
    "TransposeOptions": "",
    "TransposeConvOptions": "padding:int8 stride_w:int32 stride_h:int32 activation:int8 bias_type:int8",
    "ResizeBilinearOptions": "- - align_corners:bool half_pixel:bool",
    "ResizeNearestNeighborOptions": "align_corners:bool half_pixel:bool",
    "LeakyReluOptions": "alpha:float32",
    "HardSwishOptions": "",
    "StridedSliceOptions": "begin_mask:int32 end_mask:int32 ellipsis_mask:int32 new_axis_mask:int32 shrink_mask:int32",
    "SplitVOptions": "splits:int32",
    "GatherOptions": "axis:int32 batch_dims:int32",
    "BatchMatMulOptions": "adj_x:bool adj_y:bool",
    "ArgMaxOptions": "output_type:int8",
    "ArgMinOptions": "output_type:int8",
    "PadOptions": "",
    "PadV2Options": "",
    "MirrorPadOptions": "mode:int8",
    "AbsOptions": "",
    "QuantizeOptions": "",
    "DequantizeOptions": "",
    "ReverseV2Options": "",
    "BroadcastToOptions": "",
    "DepthToSpaceOptions": "block:int32",
    "SpaceToDepthOptions": "block:int32",
    "L2NormOptions": "activation:int8",
    "UnidirectionalSequenceLSTMOptions": "activation:int8 cell_clip:float32 projection_clip:float32 time_major:bool",
}  # fmt: skip


@cache
def slots(table: str) -> tuple[Slot | None, ...]:
    """Fields of a table, None for a slot that is never used."""
    return tuple(None if text == "-" else _slot(text) for text in TABLES[table].split())


def _slot(text: str) -> Slot:
    name, kind = text.split(":")
    kind, _, default = kind.partition("=")
    return Slot(name, kind.strip("[]"), kind.startswith("["), float(default or 0))


@dataclass(frozen=True, slots=True)
class Operator:
    """A builtin operator: its code, its options table ("" for none), that table's number in the union, and the resolver's method."""

    code: int
    options: str
    union: int
    method: str


OPERATORS: dict[str, Operator] = {
    "ADD": Operator(0, "AddOptions", 11, "AddAdd"),
    "AVERAGE_POOL_2D": Operator(1, "Pool2DOptions", 5, "AddAveragePool2D"),
    "CONCATENATION": Operator(2, "ConcatenationOptions", 10, "AddConcatenation"),
    "CONV_2D": Operator(3, "Conv2DOptions", 1, "AddConv2D"),
    "DEPTHWISE_CONV_2D": Operator(4, "DepthwiseConv2DOptions", 2, "AddDepthwiseConv2D"),
    "DEPTH_TO_SPACE": Operator(5, "DepthToSpaceOptions", 94, "AddDepthToSpace"),
    "DEQUANTIZE": Operator(6, "DequantizeOptions", 38, "AddDequantize"),
    "FULLY_CONNECTED": Operator(9, "FullyConnectedOptions", 8, "AddFullyConnected"),
    "L2_NORMALIZATION": Operator(11, "L2NormOptions", 12, "AddL2Normalization"),
    "LOGISTIC": Operator(14, "", 0, "AddLogistic"),
    "MAX_POOL_2D": Operator(17, "Pool2DOptions", 5, "AddMaxPool2D"),
    "MUL": Operator(18, "MulOptions", 21, "AddMul"),
    "RELU": Operator(19, "", 0, "AddRelu"),
    "RELU6": Operator(21, "", 0, "AddRelu6"),
    "RESHAPE": Operator(22, "ReshapeOptions", 17, "AddReshape"),
    "RESIZE_BILINEAR": Operator(23, "ResizeBilinearOptions", 15, "AddResizeBilinear"),
    "SOFTMAX": Operator(25, "SoftmaxOptions", 9, "AddSoftmax"),
    "SPACE_TO_DEPTH": Operator(26, "SpaceToDepthOptions", 19, "AddSpaceToDepth"),
    "TANH": Operator(28, "", 0, "AddTanh"),
    "PAD": Operator(34, "PadOptions", 22, "AddPad"),
    "GATHER": Operator(36, "GatherOptions", 23, "AddGather"),
    "TRANSPOSE": Operator(39, "TransposeOptions", 26, "AddTranspose"),
    "MEAN": Operator(40, "ReducerOptions", 27, "AddMean"),
    "SUB": Operator(41, "SubOptions", 28, "AddSub"),
    "DIV": Operator(42, "DivOptions", 29, "AddDiv"),
    "UNIDIRECTIONAL_SEQUENCE_LSTM": Operator(44, "UnidirectionalSequenceLSTMOptions", 71, "AddUnidirectionalSequenceLSTM"),
    "STRIDED_SLICE": Operator(45, "StridedSliceOptions", 32, "AddStridedSlice"),
    "LOG_SOFTMAX": Operator(50, "LogSoftmaxOptions", 36, "AddLogSoftmax"),
    "PRELU": Operator(54, "", 0, "AddPrelu"),
    "MAXIMUM": Operator(55, "MaximumMinimumOptions", 39, "AddMaximum"),
    "ARG_MAX": Operator(56, "ArgMaxOptions", 40, "AddArgMax"),
    "MINIMUM": Operator(57, "MaximumMinimumOptions", 39, "AddMinimum"),
    "ARG_MIN": Operator(79, "ArgMinOptions", 57, "AddArgMin"),
    "PADV2": Operator(60, "PadV2Options", 43, "AddPadV2"),
    "TRANSPOSE_CONV": Operator(67, "TransposeConvOptions", 49, "AddTransposeConv"),
    "SUM": Operator(74, "ReducerOptions", 27, "AddSum"),
    "RSQRT": Operator(76, "", 0, "AddRsqrt"),
    "REDUCE_MAX": Operator(82, "ReducerOptions", 27, "AddReduceMax"),
    "REDUCE_MIN": Operator(89, "ReducerOptions", 27, "AddReduceMin"),
    "RESIZE_NEAREST_NEIGHBOR": Operator(97, "ResizeNearestNeighborOptions", 74, "AddResizeNearestNeighbor"),
    "LEAKY_RELU": Operator(98, "LeakyReluOptions", 75, "AddLeakyRelu"),
    "SQUARED_DIFFERENCE": Operator(99, "SquaredDifferenceOptions", 76, "AddSquaredDifference"),
    "MIRROR_PAD": Operator(100, "MirrorPadOptions", 77, "AddMirrorPad"),
    "ABS": Operator(101, "AbsOptions", 78, "AddAbs"),
    "SPLIT_V": Operator(102, "SplitVOptions", 79, "AddSplitV"),
    "REVERSE_V2": Operator(105, "ReverseV2Options", 81, "AddReverseV2"),
    "ELU": Operator(111, "", 0, "AddElu"),
    "QUANTIZE": Operator(114, "QuantizeOptions", 89, "AddQuantize"),
    "HARD_SWISH": Operator(117, "HardSwishOptions", 91, "AddHardSwish"),
    "BATCH_MATMUL": Operator(126, "BatchMatMulOptions", 101, "AddBatchMatMul"),
    "BROADCAST_TO": Operator(130, "BroadcastToOptions", 104, "AddBroadcastTo"),
}  # fmt: skip

# Operators that TFLM runs in integers, or that control the flow, and that only files of other tools have.
ELSEWHERE: dict[int, str] = {
    7: "EMBEDDING_LOOKUP", 27: "SVDF", 32: "CUSTOM", 37: "BATCH_TO_SPACE_ND", 38: "SPACE_TO_BATCH_ND", 43: "SQUEEZE", 49: "SPLIT", 53: "CAST", 58: "LESS",
    61: "GREATER", 62: "GREATER_EQUAL", 63: "LESS_EQUAL", 65: "SLICE", 70: "EXPAND_DIMS", 71: "EQUAL", 72: "NOT_EQUAL", 77: "SHAPE", 83: "PACK",
    84: "LOGICAL_OR", 86: "LOGICAL_AND", 87: "LOGICAL_NOT", 88: "UNPACK", 93: "ZEROS_LIKE", 94: "FILL", 106: "ADD_N", 107: "GATHER_ND", 118: "IF", 119: "WHILE",
    123: "SELECT_V2", 128: "CUMSUM", 129: "CALL_ONCE", 140: "REDUCE_ALL", 142: "VAR_HANDLE", 143: "READ_VARIABLE", 144: "ASSIGN_VARIABLE", 145: "BROADCAST_ARGS",
    151: "DYNAMIC_UPDATE_SLICE",
}  # fmt: skip

OPERATOR_NAMES: dict[int, str] = {**ELSEWHERE, **{row.code: name for name, row in OPERATORS.items()}}

TENSOR_TYPES: dict[str, int] = {
    "float32": 0,
    "float16": 1,
    "int32": 2,
    "uint8": 3,
    "int64": 4,
    "bool": 6,
    "int16": 7,
    "int8": 9,
    "int4": 17,
}
ACTIVATIONS: dict[str, int] = {"": 0, "relu": 1, "relu1": 2, "relu6": 3, "tanh": 4}
SAME, VALID = 0, 1
