"""Every diagnostic code with its title, explanation and exit code, and the one exception type.

A code is a letter for the family and a number. The family decides the exit code of the process; numbers from 100 on are
warnings and notes, which never change it. ``qconvert explain CODE`` prints the long text.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """How much a diagnostic matters."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True, slots=True)
class Code:
    """What a diagnostic code means, for people.

    Attributes:
        title: a few words, without the details of one occurrence.
        explanation: why it happens and what to do, one paragraph.
    """

    title: str
    explanation: str


# Family letter -> exit code of the process. C (findings of `check`) and P (reasons of the plan) describe, they do not abort.
EXIT_CODES = {"R": 2, "M": 3, "D": 4, "G": 5, "V": 6, "O": 7, "T": 8, "X": 1, "C": 6, "P": 3}
EXIT_INTERRUPTED = 130
EXIT_TERMINATED = 143
EXIT_MEANINGS = {
    0: "done",
    1: "a bug of qconvert; the message names a log file",
    2: "usage or recipe",
    3: "model",
    4: "dataset",
    5: "a gate or condition failed; the model is kept as `<stem>.rejected.<extension>`",
    6: "verification failed, or `check` found errors",
    7: "the output cannot be written",
    8: "an optional part is missing",
    EXIT_INTERRUPTED: "interrupted (Ctrl-C)",
    EXIT_TERMINATED: "terminated",
}

CODES: dict[str, Code] = {
    # --- recipe and usage -------------------------------------------------------------------------------------------
    "R001": Code("recipe cannot be read", "The recipe file does not exist or cannot be opened. Check the path; `qconvert recipe init MODEL` writes a commented one."),
    "R002": Code("not valid YAML", "The recipe is not well-formed YAML. The line and column are where the parser gave up; the mistake is often one line above (indentation, a missing colon or quote). Correct that place; an editor with the schema of `qconvert recipe schema` shows it while typing."),
    "R003": Code("unknown key", "A key that no part of the recipe knows. Recipes are strict so that a typo cannot pass silently; the nearest known key is suggested. Take the suggested key, or look it up in `qconvert recipe schema`."),
    "R004": Code("duplicate key", "The same key stands twice in one mapping. YAML would silently keep the last one; qconvert refuses. Remove one of the two."),
    "R005": Code("invalid value", "A value of the wrong type or outside the allowed range. `qconvert recipe schema` prints every key with its type."),
    "R006": Code("missing key", "A key that has no default is missing. Add it; `qconvert recipe init MODEL` writes a recipe with everything that is needed."),
    "R007": Code("rule matches nothing", "A rule of the recipe selects no node or tensor of this model, so it would silently do nothing. Names are those of the model after canonicalization; `qconvert inspect MODEL` lists them."),
    "R008": Code("cannot extend", "`extends:` names a recipe that cannot be found, or recipes extend each other in a circle. Correct the path, which starts at the recipe's own folder, or name the preset of a target."),
    "R009": Code("unsupported combination", "The chosen settings do not fit together or not to the target. The message names the nearest supported choice."),
    "R010": Code("unknown target", "The target is not one of those that `qconvert targets` lists. Choose one of those; the message suggests the nearest."),
    "R011": Code("wrong usage", "The command line is not understood. `qconvert COMMAND --help` shows the options with examples."),
    "R012": Code("user function cannot be used", "A `file.py:function` of the recipe could not be imported, is not callable, or raised an exception. Correct the function at the place that the message names; paths start at the recipe's folder."),
    "R013": Code("not a run record", "`qconvert report` reads the JSON report that `qconvert convert` writes beside its output; the file is missing, damaged, or of another version. Point at `<output>.report.json`, or convert again with this version."),
    "R014": Code("baseline cannot be used", "`gates.against` names the JSON report of an earlier run, and that file is missing, damaged, of another schema version, for another target, or of a model with other inputs or outputs. `qconvert convert --update-baseline` writes it anew."),
    "R015": Code("table of ranges cannot be used", "`calibration: {read: ...}` names a file that is neither a calibration cache of TensorRT nor an encodings file of AIMET, or none of its tensors is in the model. Names are those of the ONNX model's tensors; check the path, or correct the names."),
    "R100": Code("recipe overridden", "A command line option replaced a value of the recipe. The effective recipe is in the report. Put the value into the recipe if it is to stay."),
    "R101": Code("setting without effect", "The recipe or an option sets a key that nothing reads with the other settings. The result is that without it. Follow the message, or remove the key."),
    "R102": Code("held back by a limit", "A limit in the settings of an algorithm, such as `memory`, made it work on less than it would have: fewer samples, or Gram matrices of a part of a layer's inputs at a time. The result may be a little less accurate. Raise the limit where there is room for it."),
    # --- model ------------------------------------------------------------------------------------------------------
    "M001": Code("model cannot be read", "The model file does not exist or cannot be opened. Check the path and its permissions."),
    "M002": Code("not an ONNX model", "The file is not a readable ONNX protobuf: it is truncated, empty, a pointer of a large-file store, or of another format. Copy or export it again; for Git LFS run `git lfs pull`."),
    "M003": Code("external data missing", "The model keeps weights in a file beside it, and that file is missing or shorter than the model says. Copy it together with the model."),
    "M004": Code("external data leaves the folder", "The model asks for weights outside its own folder. A model from elsewhere could read any file that way, so it is refused; re-save the model with its data beside it."),
    "M005": Code("invalid graph", "The model does not pass the ONNX checker: a node uses a value that nobody produces, a name is defined twice, an attribute has the wrong type, and the like. Export the model again, or mend the node that the message names."),
    "M006": Code("operator cannot be run", "onnxruntime has no implementation of this operator, or it belongs to a custom domain. Calibration and the proof of the result need to run the model. Replace the operator by standard ones, or cut the model before it."),
    "M007": Code("opset not supported", "qconvert reads models of opset 7 and newer. Re-export the model, or convert it with onnx.version_converter."),
    "M008": Code("quantized in a way that cannot be taken back", "The model is quantized already, and this node cannot be written in real numbers: its scales are computed at run time, its codes are used as numbers, or the operator keeps its scales to itself. `qconvert check` lints such a model; start from the FP32 model to convert it."),
    "M009": Code("model does not run", "onnxruntime loads the model but running it fails. The message is that of the runtime. Run the model by itself on the same inputs; the export or the sample is wrong where that fails too."),
    "M010": Code("input shape unknown", "A dimension of an input is not fixed and nothing says what it should be. Give data, or `shapes:` in the recipe."),
    "M011": Code("weights not finite", "A weight of the model is NaN or infinite, so no scale can represent it. Such models are usually broken exports. Export the model again, or repair the checkpoint that it comes from."),
    "M012": Code("model has no inputs", "Nothing can be calibrated: the graph has no input of a numeric tensor type. Export the model with its input as a graph input."),
    "M013": Code("FP32 result not finite", "The FP32 model itself produces NaN or infinity on a sample. Quantization cannot repair that; check the sample and the preprocessing."),
    "M014": Code("operator cannot run on the target", "The target runs integers only, and this operator has no integer kernel there, not even composed of others. The message names the node and the reason; nothing was calibrated. Replace the operator, or cut the model before it and compute the rest on the host."),
    "M015": Code("models do not answer the same question", "Models can be compared only where their inputs and outputs are the same: as many of them, of the same types and shapes. Names may differ, axes may be channels first or last, and floats may have another width. Compare each with a model that it was made from."),
    "M100": Code("left as it is", "A canonicalization rule found its pattern but could not apply it exactly; the message says why. The model stays correct. Nothing has to be done; follow the message if the pattern costs time."),
    "M101": Code("choice made by rule", "Accuracy and memory pull apart at this place; the message says what was chosen, what the other way would bring or cost, and how to ask for it. Set the key that the message names to have it the other way."),
    "M102": Code("matched by their order", "Inputs or outputs of a model have other names than those of the reference, so the first was taken for the first, and so on. Check the pairs that the message names; rename the values in the model where they are wrong."),
    "M103": Code("quantized already", "The model contains QuantizeLinear, DequantizeLinear or integer operators. They are taken out of the graph; their ranges and the codes of the weights are the start of the conversion, and final where no data is given (`calibration: {given: ...}`). Figures of the model before conversion are those of the file as it was given."),
    "M104": Code("range not known", "No data was given, and neither the model nor a table says which values this tensor takes, so the nodes around it stay float. Give a dataset with `-d`."),
    "M105": Code("unknown tensors in a table", "A table of ranges names tensors that the model does not have; they are left out. Caches of TensorRT also name tensors that exist in the engine only, which is fine; correct the names of others."),
    "M106": Code("sizes taken from the samples", "The model leaves sizes open and the recipe does not give them, so the plan is made for those of the samples (of the typical one where they differ). On targets whose files have fixed sizes they become those of the file. Set `shapes:` for others."),
    # --- dataset ----------------------------------------------------------------------------------------------------
    "D001": Code("dataset not found", "The dataset path does not exist or is not a folder. Check the path; `-d` wants the folder that holds the samples or their parts."),
    "D002": Code("dataset empty", "The folder holds no file that qconvert can read as a sample. Put images, .npy, .npz, ONNX test data, csv, jsonl or wav files into it."),
    "D003": Code("sample cannot be read", "A file of the dataset is corrupt or truncated, or not what its extension says. Remove or replace the file."),
    "D004": Code("wrong shape", "A sample does not have the shape that the model's input wants. The message shows the file, what came and what is wanted, and, where one fits, the preprocessing that would mend it. Take that preprocessing over into the recipe, or change the samples."),
    "D005": Code("wrong type", "A sample's type cannot be cast to the input's type without loss. Casts such as uint8 to float32 are made by themselves; others must be asked for by `dtype:`."),
    "D006": Code("input missing", "A sample has no array for one of the model's inputs, or has one for an input that the model does not have. Name the arrays like the inputs, or say which is which in `dataset.inputs`."),
    "D007": Code("sample not finite", "A sample contains NaN or infinity. One such value would spoil every range, so it is refused. Remove or repair the sample that the message names."),
    "D008": Code("dataset mixed", "The folder mixes kinds of samples (for instance images and arrays) and it is not clear which are meant. Point at one sub-folder, or set `kind:` in the recipe."),
    "D009": Code("labels do not fit", "Labels are asked for but missing, or do not fit to the samples: unknown file, missing row, wrong length. Correct the file of labels or `dataset.labels`; `dataset.labels: none` measures without them."),
    "D010": Code("preprocessing missing", "The model's input needs something the recipe does not say: a size to resize to, a sample rate, a column. Add it to `dataset.preprocess`; the message names the key."),
    "D011": Code("dataset part missing", "The recipe asks for a part of the dataset (calibration, evaluation) that the folder does not have. Make the sub-folder, or correct `dataset.calibration` and `dataset.evaluation`."),
    "D100": Code("fewer samples than asked", "The dataset has fewer samples than the recipe asks for; all of them are used. Add samples if the ranges have not settled; the report shows whether they have."),
    "D101": Code("range looks wrong", "The values do not look like what the model expects, for instance 0..255 where the first layer was trained on 0..1. A wrong range gives a model that is quantized faithfully for the wrong data. Set `dataset.preprocess` as the model was trained."),
    "D102": Code("constant input", "An input has the same value in every sample, so calibration sees only one point. Check the files, or give samples in which it varies."),
    "D103": Code("measured on calibration data", "The dataset has no evaluation part, so fidelity was measured on the samples that also set the ranges. Add a sub-folder `eval/` for an honest figure."),
    "D104": Code("values were cast", "Samples were cast without loss to the input's type. Nothing has to be done; `dtype:` asks for another type."),
    "D105": Code("files skipped", "Some files in the folder are not samples and were skipped. Nothing has to be done, unless one of them was meant to be a sample."),
    "D106": Code("images without preprocessing", "The dataset consists of images and the recipe says nothing about scale, mean or std, so the model receives raw values of 0..255. Most networks want 0..1 or normalized values; set `dataset.preprocess`."),
    "D107": Code("FP32 no better than chance", "The FP32 model itself guesses on this dataset. The preprocessing or the labels do not fit the model, and ranges that were found with such data are worth nothing. Check `dataset.preprocess` and the order of the classes before anything else."),
    # --- gates ------------------------------------------------------------------------------------------------------
    "G001": Code("gate failed", "A limit of the recipe's `gates:` does not hold. The report is written and the model is kept as `<stem>.rejected.<ext>`. Improve the result (`qconvert analyze` and `qconvert tune` say how), or correct the limit."),
    "G002": Code("gate cannot be judged", "A gate asks for a figure that was not measured (for instance a task metric without labels), or that cannot be compared with the baseline (another metric, timed on another host). A gate that cannot be judged counts as failed. Provide the figure as the message says, or remove the gate."),
    "G101": Code("baseline differs", "The run is judged against an earlier one that differs from it in more than the result: another model file, other samples, or gates that failed then. The figures are compared all the same. Make the baseline anew with `qconvert convert --update-baseline` if the difference is wanted."),
    "G102": Code("older result stays", "A gate failed, so the new model was written as rejected, and files of an earlier run stay as they were beside it. The report describes the rejected model, not those files. Delete them if they must not be deployed any more."),
    # --- verification -----------------------------------------------------------------------------------------------
    "V001": Code("result is not valid ONNX", "The quantized model does not pass the ONNX checker. This is a defect of qconvert; please report it with the log."),
    "V002": Code("result does not run", "The quantized model does not load or run in one of the session configurations that the target names. Update onnxruntime, or leave the node that the message names float by a rule; please report the model."),
    "V003": Code("result not finite", "The quantized model produced NaN or infinity where the FP32 model did not. Widen the ranges (`calibration.method: min-max`), or leave the tensor that overflows float by a rule."),
    "V004": Code("result has other outputs", "Names, types or shapes of the outputs differ from those of the FP32 model. This is a defect of qconvert; please report it with the model."),
    "V005": Code("fidelity far below the formats", "The outputs are much further from FP32 than the chosen formats imply. Usually one tensor is to blame: look at the per-layer table of the report and leave the worst tensor float."),
    "V006": Code("rewrite changed the result", "A canonicalization rewrite changed the model's outputs on the calibration data beyond rounding. This is a defect of qconvert; please report it with the log."),
    "V007": Code("target rules violated", "The static validator of the target found an error in the produced file. The message has the code of the finding, which `qconvert explain` knows; leave the node float by a rule, and please report it."),
    "V008": Code("does not run under emulation", "The model runs on this host and not on the emulated core. The message is the last line that the runtime printed there. Update the runtime there, or leave out what it does not know; `qconvert emulator status` shows its version."),
    "V100": Code("slower than FP32", "The quantized model is slower than the FP32 model on this host. The message names the kinds of operators that take longer, as the runtime's profile of both says, and the hint a rule or a search that leaves layers float."),
    "V101": Code("runs as float", "A node that the plan made integer runs in float in the runtime. Follow the cause in the message, or leave the node float by a rule to save its conversions."),
    "V102": Code("host is not the target", "Latency was measured on a host that is not the target, so it says little about the target. Run the file on the target; the prediction of `qconvert plan` is for the target."),
    "V103": Code("not run on the target", "The target's runtime is not at hand; the file was proved by the static validator and by a numerically equal session. Run the file on the target before it is shipped; the report says with which command."),
    "V104": Code("not emulated", "The recipe asks for a run on other cores (`verify: emulate`), and there is no emulator here. `qconvert emulator setup` makes one; `qconvert emulator status` says what is missing."),
    "V105": Code("differs on another core", "The result was run on an emulated core of the target, and its outputs are not those of this host. On x86 without VNNI 16-bit sums saturate: `reduce_range: true` avoids that."),
    "V106": Code("not compared", "A part of two models could not be compared; the message says which and why. The other figures stand. Where onnxruntime refuses a file, `qconvert check` says what is wrong with it."),
    "V107": Code("runs differ in more than the recipe", "Two run records speak of different models, samples or hosts, so their figures are not comparable in every respect. Convert one model twice and measure both on the same samples and the same kind of machine."),
    "V108": Code("latency not measured", "Timing a model as it is deployed takes its weights into memory, and there is not enough of it for FP32 and result together. Everything else was measured with weights mapped from their files. Measure latency on a machine with more memory."),
    # --- output -----------------------------------------------------------------------------------------------------
    "O001": Code("output cannot be written", "The output folder cannot be made or written to. Check the path and its permissions, or choose another output."),
    "O002": Code("disk full", "There is no space left to write the result. Nothing was replaced; partial files were removed. Free some space, or choose another folder; `TMPDIR` says where temporary files go."),
    "O003": Code("output would replace the input", "The output path is the input model or lies in the dataset. Inputs are never written to. Choose another output path."),
    "O100": Code("cache not used", "An entry of the cache is damaged or cannot be read, or the cache cannot be written to. The result is computed as without a cache, and a damaged entry is written again. Nothing has to be done; `qconvert cache clear` removes what is left."),
    "O101": Code("taken from the cache", "Something was computed before for the same model, data, preprocessing, options and versions, and was taken from the cache. The result is the same as without a cache. Nothing has to be done; `qconvert cache clear` empties it."),
    "O102": Code("algorithms taken from the cache", "Steps of the accuracy algorithms were computed before for the same FP32 graph, numbers of the plan, data, settings and versions, perhaps for another target, and were taken from the cache. The result is the same as without a cache. Nothing has to be done; `qconvert cache clear` empties it."),
    # --- tools ------------------------------------------------------------------------------------------------------
    "T001": Code("extra not installed", "This needs an optional part of qconvert. The message shows the command that installs it."),
    "T002": Code("emulator cannot be set up", "`qconvert emulator setup` downloads packages by the distribution's and Python's own tools, and one of them failed or is not there. The message has its last line. Run that command by itself to see all that it says, and mend what it lacks."),
    # --- reasons of the plan ----------------------------------------------------------------------------------------
    "P001": Code("no integer kernel", "The target has no integer kernel for this operator, so Q/DQ around it would only cost time and accuracy. Nothing has to be done; another operator of the same meaning may have a kernel (`qconvert targets` lists them)."),
    "P002": Code("kernel limit", "The target has an integer kernel for this operator, but not for this rank, shape, type or attribute. The reason of the node names the limit; change the layer in the model if its time matters."),
    "P003": Code("no profit", "An integer kernel exists, but the cost model says that the region is not faster in integers than in float, conversions included. Nothing has to be done for speed; `placement: everywhere` makes it integer for the sake of size."),
    "P004": Code("kept by rule", "A rule of the recipe keeps it float. Change the rule to have it otherwise."),
    "P005": Code("not numeric", "The node works on shapes, indices, booleans or strings; there is nothing to quantize. Nothing has to be done."),
    "P006": Code("inside a body", "The node is inside the body of an If, Loop or Scan. Ranges differ from iteration to iteration, so bodies stay float. Unroll the loop when exporting, if its time matters."),
    "P007": Code("mask or constant", "The tensor carries an additive mask or a constant with values far outside the data; quantizing it would destroy the range. Nothing has to be done."),
    "P008": Code("weight not constant", "The operator's weight is computed at run time, and the kernel needs a constant. Export the model with the weight as an initializer."),
    "P009": Code("no shape", "The shape of a tensor could not be found, so neither the kernel's limits nor its profit can be judged. Give the sizes of open dimensions in `shapes:`, or data."),
    "P010": Code("float by design", "Quantizing this operator loses accuracy out of proportion to the time it saves; the target keeps it float. A rule with `keep: integer` would quantize it all the same, where the target has a kernel."),
    "P011": Code("small shape", "The operator is too small for the target's integer kernels to pay. Nothing has to be done."),
    "P012": Code("weight not compressed", "Only weights are stored in few bits, and this node has none that is constant and large enough, or the target has no form for it with these bits and blocks. Choose bits and a block size that the target has, or nothing has to be done."),
    "P013": Code("range not known", "No data was given, and neither the model nor a table says which values this tensor takes. Give a dataset with `-d`, or choose a mode that needs no ranges, such as `weight-only`, where the target has one."),
    "P014": Code("needs float32", "The node needs the range or the digits of float32: by its operator (sums, squares, powers, exponentials), because its values left the range of float16 on calibration data, or because its rounding was measured to cost accuracy. A rule with `precision` decides otherwise."),
    "P015": Code("no 16-bit form", "ONNX defines this operator for float32 only, or not for this 16-bit type; it stays in float32 between two Casts. Nothing has to be done."),
    "P100": Code("faster with fewer integers", "The plan keeps a share of the multiply-accumulates integer (`integer_macs`, 95 % by default) although the cost model predicts a faster file with more layers left float. Lower `integer_macs` to have it."),
    "P101": Code("few integers", "Only this share of the multiply-accumulates gains from integers on the target, so the rest stays float; `plan` shows the reason of every node. `placement: everywhere` makes integer whatever has a kernel, for the sake of size."),
    "P102": Code("mode without effect", "No node of the model became what `mode` asks for, so the result is that of another mode, or a float model. The message says what was made instead; choose a mode that fits the model, or other bits, blocks or levels."),
    "P103": Code("pruned", "Share of zeros that pruning left in the weights, counted after rounding, and what the target's runtime gains from them. Dense kernels gain nothing from zeros. Prune for the sake of size after compression, or for runtimes with sparse kernels."),
    "P104": Code("range of 16-bit floats", "Weights and calibrated activations were counted against the range of the 16-bit type: what is beyond its largest number, and what lies below its smallest normal number and loses digits. Nodes around activations that overflow, or come within a factor of two of it, stay in float32; constants are cut to the largest number. Nothing has to be done; bfloat16 has the range of float32."),
    "P105": Code("16 bits without gain", "What a model in 16-bit floats does not gain on this target. Choose it for the sake of size, or another target."),
    # --- findings of `check` for TensorRT; the numbering follows the message families of TensorRT's importer ------------
    "C001": Code("int32 bias behind DequantizeLinear", "TensorRT refuses a quantized int32 bias. Keep the bias float."),
    "C002": Code("unsigned activations", "TensorRT knows int8 only; a uint8 zero point is refused or reinterpreted. Quantize to int8 with zero point 0."),
    "C003": Code("zero point not zero", "TensorRT quantizes symmetrically; every zero point must be 0. Calibrate symmetrically."),
    "C004": Code("scale not usable", "A scale is zero, negative, NaN, infinite, or subnormal in the type that is used. Calibrate again with data in which the tensor varies, or leave it float."),
    "C005": Code("wrong per-channel axis", "Per-channel scales are allowed on weights only: axis 0 of Conv, 1 of ConvTranspose, the output axis of Gemm and MatMul. Quantize along that axis, or per tensor."),
    "C006": Code("integer operator", "QLinear*, *Integer and DynamicQuantizeLinear are not supported by TensorRT; use explicit Q/DQ."),
    "C007": Code("opset too old for the format", "Per-channel needs opset 13, FP8 19, INT4 and blocks 21, FP4 23. Export or convert the model to that opset."),
    "C008": Code("block layout", "The block size, its axis or its divisibility does not fit the target's rules. Choose a block size that divides the axis and that the message names."),
    "C009": Code("weight or scale not constant", "TensorRT can fuse a weight only if it and its scales are constants. Fold the computation in front of it into an initializer."),
    "C010": Code("float32 remainder", "FP16 was asked for, and this part of the graph is still float32; under strong typing it runs in FP32. Convert that part to FP16 too, or build without strong typing."),
    "C101": Code("half quantized", "A weighted operator has only one of its inputs quantized, so it runs in float with extra conversions. Quantize both inputs, or none."),
    "C102": Code("Q/DQ between layer and activation", "A Q/DQ pair between Conv and its BatchNormalization or activation prevents their fusion. Move the pair behind the activation."),
    "C103": Code("Q/DQ on the conv side of a residual Add", "The conv-side input of a residual Add should stay unquantized, so that Conv and Add fuse. Remove that pair."),
    "C104": Code("float skip branch", "The skip input of a residual Add is float while the conv side is INT8; the fused output becomes float. Put a Q/DQ pair on the skip input."),
    "C105": Code("small channels", "The operator is too small for the INT8 tensor-core kernels; it is usually faster in FP16. Leave it unquantized."),
    "C106": Code("one side quantized", "A non-weighted operator has an INT8 input but a float output or the reverse; quantize both sides or neither."),
    "C107": Code("Q/DQ on a graph output", "A Q/DQ pair at a graph output is a stand-alone kernel and loses accuracy for nothing. Remove it."),
    "C108": Code("unequal scales before a merge", "Branches that merge have different scales, so they are requantized. Give the branches one scale."),
    "C109": Code("redundant Q/DQ", "Two Q/DQ pairs follow each other, or a pure copy operator changes the scale. Keep one pair, with one scale on both sides of the copy."),
    "C110": Code("attention pattern missed", "The attention block is near the pattern that TensorRT fuses, but not quite: scale after the first MatMul, or a Transpose or Cast between DQ and MatMul. Bring it to that pattern: scale before the first MatMul, pairs directly on its inputs."),
    "C111": Code("attention limits", "Sequence length or head size is outside the limits of the fused attention kernels. Leave the block in FP16, or change its sizes."),
    "C112": Code("isolated INT8 island", "An INT8 operator between float neighbours moves more bytes in conversions than it saves. Leave it unquantized, or quantize its neighbours."),
    "C113": Code("not quantized", "The model has no QuantizeLinear, DequantizeLinear or integer operator, so there is nothing that a target's rules could judge. Convert the model first."),
    # --- findings of `check` for onnxruntime on CPU ------------------------------------------------------------------
    "C201": Code("signed activations", "On x86 only unsigned activations with signed weights reach the VNNI kernels; int8 activations run in float or slowly wherever a tensor has two consumers. Quantize activations to uint8."),
    "C202": Code("unsigned weights", "uint8 weights take the 16-bit path: 1.0 to 1.6 times FP32 instead of up to 4. Quantize weights to int8."),
    "C203": Code("weight zero point not zero", "Signed weights with a zero point other than 0 miss the symmetric kernels. Quantize weights symmetrically."),
    "C204": Code("float island", "A node runs in float between integer nodes and costs two conversions. Quantize it if it has a kernel, or leave its neighbours float."),
    "C205": Code("Q/DQ around a float operator", "The runtime has no integer kernel for this operator, so the Q/DQ pairs around it only cost time and accuracy. Remove the pairs."),
    "C206": Code("16-bit activations", "The runtime has no kernels for 16-bit activations; the node runs in float and dequantizes its weights on every run. Use 8-bit activations."),
    "C207": Code("Q/DQ between layer and activation", "A Q/DQ pair between a layer and its Relu or Clip keeps the activation as a float node. Let the range of the quantized tensor clamp instead."),
    "C208": Code("integer convolution", "ConvInteger has no fast kernel: 0.04 to 0.3 times FP32. Use Q/DQ pairs with ranges from calibration."),
    "C209": Code("weight quantized at load", "A float weight in the middle of an integer region is quantized per tensor by the runtime when it loads the file. Quantize the weight in the file per channel, or leave the neighbours float."),
    "C210": Code("does not load or run", "The runtime refuses the file in one of its standard session configurations. The message is the runtime's; mend the node that it names."),
    "C211": Code("weights dequantized on every run", "A DequantizeLinear of a constant weight stays in the optimized graph and runs at every inference. Quantize the layer's activation too, so that an integer kernel takes the weight, or keep the weight float."),
    "C212": Code("BatchNormalization not folded", "A BatchNormalization behind an integer layer stays a float node; fold it before quantizing."),
    # --- findings of `check` for .tflite files -------------------------------------------------------------------------
    "C302": Code("float tensor", "A tensor that is no input or output behind QUANTIZE or DEQUANTIZE is float: the file is not full-integer, and TFLM has no hybrid kernels. Quantize it too, or move it out of the file to the host."),
    "C303": Code("scale not usable", "A quantized tensor has no scale, or one that is zero, negative or not finite. Calibrate again with data in which the tensor varies."),
    "C304": Code("zero point outside the specification", "Weights and 16-bit activations have the zero point 0; int8 activations any from -128 to 127. Quantize again with a zero point that fits."),
    "C305": Code("bias outside the specification", "A bias is int32 (int64 under 16-bit activations) with the zero point 0 and the scale input scale x weight scale. The kernels do not look at its scale, so another one gives wrong sums silently. Write the bias again in that scale."),
    "C306": Code("quantized axis", "Scales a channel lie along axis 0 of weights (3 of depthwise weights) and axis 0 of biases. LiteRT refuses other axes of a bias. Write the scales along that axis."),
    "C307": Code("rescaling copy", "An operator that only moves codes has different scales before and after. The kernels ignore that, and the values are silently wrong. Give both sides one scale, or put a QUANTIZE between them."),
    "C308": Code("wrong fixed scale", "Softmax, Logistic, Tanh, L2Normalization and LogSoftmax compute in one output scale, whatever the file says. Give the output the scale that the message names."),
    "C309": Code("no kernel in TFLM", "TFLM has no integer kernel for this operator, even if LiteRT runs the file. Replace the operator, or run that part on the host."),
    "C310": Code("buffer not aligned", "Constants are read in place, and kernels expect them at multiples of 16 bytes. Write the file again with aligned buffers."),
    "C311": Code("weight code -128", "Weights are symmetric, -127 to 127; optimized kernels may overflow on -128. Clip the weights to -127."),
    "C312": Code("limit of a TFLM kernel", "The kernel exists, but not for this number of inputs, this rank, or a parameter that is computed at run time. Change the operator so that it fits, or replace it."),
    "C313": Code("refused by an interpreter", "An interpreter that is installed here does not load or run the file; the message is what its kernel printed. Mend what its kernel complains of, or convert again for this target."),
    "C314": Code("state from the run before", "A recurrent operator goes on from where the run before ended in some kernels, and starts from zeros in others. Files of qconvert set the state in every run. Set the state from outside, or reset the variables before each run."),
    # --- bugs -------------------------------------------------------------------------------------------------------
    "X001": Code("internal error", "qconvert did something it should not. Please report it with the log file that the message names."),
    "X002": Code("stopped", "The run was interrupted (Ctrl-C, exit code 130) or terminated (SIGTERM, exit code 143). Partial files were removed; an older output is as it was. Start it again; with a cache it goes on faster."),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One finding: what, where, and what to do about it.

    Attributes:
        code: key of CODES.
        message: one sentence without a trailing full stop, value after a colon.
        where: file, file:line:column, node or tensor that it is about; None if it is about the whole run.
        hint: what to do, None if nothing sensible can be said.
        severity: errors abort, warnings and notes do not.
    """

    code: str
    message: str
    where: str | None = None
    hint: str | None = None
    severity: Severity = Severity.ERROR

    def __str__(self) -> str:
        place = f"{self.where}: " if self.where else ""
        hint = f"\n  hint: {self.hint}" if self.hint else ""
        return f"{self.severity}[{self.code}]: {place}{self.message}{hint}"


class QConvertError(Exception):
    """A failure that the user can act on; carries every mistake that was found, not only the first."""

    def __init__(self, diagnostics: Iterable[Diagnostic]) -> None:
        self.diagnostics = tuple(diagnostics)
        super().__init__("\n".join(str(d) for d in self.diagnostics))

    @property
    def exit_code(self) -> int:
        """Exit code of the process: that of the first error's family."""
        return EXIT_CODES[self.diagnostics[0].code[0]]


def fail(code: str, message: str, where: object = None, hint: str | None = None) -> QConvertError:
    """Build the exception for one mistake: ``raise fail("D002", "no samples", folder)``."""
    return QConvertError([Diagnostic(code, message, None if where is None else str(where), hint)])
