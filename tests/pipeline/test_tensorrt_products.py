"""What the static validator of TensorRT says of our own files: nothing."""

from pathlib import Path

import pytest
from end_to_end_support import SAMPLES

import qconvert
from qconvert.pipeline.lint import lint

SHARED = Path(__file__).parents[2].parent / "shared" / "models"
DATA = {
    "fsrcnn_x3": "data_coco",
    "mlperf_tiny_resnet8_cifar10": "data_cifar10",
    "mobilenetv1_025_imagenet": "data_imagenet",
    "mobilenetv2_100_flowers": "data_flowers",
    "yolox_nano_coco": "data_coco",
}
QUICK = {"algorithms": "none", "dataset.samples": 4}


@pytest.mark.parametrize("precision", ["float32", "float16"])
@pytest.mark.parametrize("name", ["digits_resnet", "digits_mobilenet", "digits_transformer"])
def test_sample_models(tmp_path, name, precision):
    folder = SAMPLES / name
    changes = {**QUICK, "precision": precision}
    qconvert.convert(
        folder / f"{name}.onnx",
        tmp_path / "m.onnx",
        data=folder,
        recipe=folder / "recipe.yaml",
        target="tensorrt",
        changes=changes,
        evaluate=False,
    )
    assert lint(tmp_path / "m.onnx", "tensorrt") == ()


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs the shared models beside the checkout")
@pytest.mark.parametrize("model", sorted(p.parent.name for p in SHARED.glob("*/model.onnx")))
def test_shared_models(tmp_path, model):
    recipe = Path(__file__).parents[1] / "bench" / "recipes" / f"{model}.yaml"
    data = SHARED / DATA.get(model, model)
    changes = {**QUICK, "evaluation.metric": None}
    qconvert.convert(
        SHARED / model / "model.onnx",
        tmp_path / "m.onnx",
        data=data,
        recipe=recipe,
        target="tensorrt",
        changes=changes,
        evaluate=False,
    )
    assert lint(tmp_path / "m.onnx", "tensorrt") == ()
