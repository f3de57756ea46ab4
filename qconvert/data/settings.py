"""What a recipe can say about the dataset: where the parts are, how a file becomes an input array, where labels come from."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Pixels = Annotated[int, Field(gt=0)]
Size = Pixels | tuple[Pixels, Pixels]
Unit = float | tuple[float, ...]


class Settings(BaseModel):
    """Base of every recipe section: strict types, no unknown keys, immutable."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")


class Resize(Settings):
    """How an image is brought to the model's size; the resampler is part of the model, so it is named."""

    size: Size = Field(
        description="target size in pixels: one number for the shortest side or a square, or [height, width]"
    )
    mode: Literal["shortest", "stretch", "letterbox"] = Field(
        default="shortest",
        description="shortest: shortest side to `size`, ratio kept; stretch: exactly to `size`; letterbox: fit inside `size`, ratio kept, rest filled",
    )
    resampler: Literal["nearest", "bilinear", "bicubic", "box", "hamming", "lanczos"] = Field(
        default="bilinear", description="Pillow resampling filter"
    )
    fill: Annotated[int, Field(ge=0, le=255)] = Field(
        default=114, description="letterbox: value of the filled border, 0..255"
    )
    anchor: Literal["center", "top-left"] = Field(
        default="center", description="letterbox: where the image lies in the canvas"
    )
    antialias: bool = Field(
        default=True,
        description="average over source pixels when shrinking, as Pillow and torchvision do; false: sample between the nearest pixels, as OpenCV and TensorFlow do",
    )

    @model_validator(mode="after")
    def _sampled(self) -> Resize:
        if not self.antialias and self.resampler not in ("nearest", "bilinear", "bicubic"):
            raise ValueError(f"antialias: false needs the resampler nearest, bilinear or bicubic: {self.resampler}")
        return self


class Preprocess(Settings):
    """From a decoded file to an input array: colour, resize, crop, x * scale, (x - mean) / std, layout, dtype, pad or truncate."""

    color: Literal["rgb", "bgr", "gray"] | None = Field(
        default=None, description="channel order of images; by default gray for 1 channel, else rgb"
    )
    resize: Resize | None = Field(
        default=None, description="resizing of images; by default images must have the model's size"
    )
    crop: Size | None = Field(default=None, description="centre crop: one number for a square, or [height, width]")
    scale: float = Field(default=1.0, description="factor on the raw values (0..255 for images), before mean and std")
    mean: Unit = Field(default=0.0, description="subtracted after `scale`; one number or one a channel")
    std: Unit = Field(default=1.0, description="divisor after `mean`; one number or one a channel")
    layout: Literal["nchw", "nhwc"] | None = Field(
        default=None, description="layout of the input; by default found from the model's input shape"
    )
    dtype: str | None = Field(default=None, description="cast to this NumPy type even where it loses precision")
    pad_to: Annotated[int, Field(gt=0)] | None = Field(
        default=None, description="pad or truncate the last axis (audio, sequences) to this length"
    )
    pad_value: float = Field(default=0.0, description="value of the padding")

    @model_validator(mode="after")
    def _divisible(self) -> Preprocess:
        if 0 in (self.std if isinstance(self.std, tuple) else (self.std,)):
            raise ValueError("std must not be 0")
        return self


class InputSettings(Settings):
    """Overrides for one model input."""

    array: str | None = Field(
        default=None,
        description="name of the array in .npz files, or column(s) prefix in tables; by default the input's name",
    )
    preprocess: Preprocess | None = Field(default=None, description="preprocessing of this input only")


class DatasetSettings(Settings):
    """The `dataset:` section."""

    kind: Literal["auto", "images", "arrays", "protobuf", "table", "audio"] = Field(
        default="auto", description="kind of the samples; auto looks at the files"
    )
    calibration: str | None = Field(
        default=None,
        description="sub-folder of the calibration part; by default calib, calibration or train if present, else the folder itself",
    )
    evaluation: str | None = Field(
        default=None,
        description="sub-folder of the evaluation part; by default eval, evaluation, val, validation or test if present",
    )
    samples: Annotated[int, Field(gt=0)] = Field(
        default=128, description="calibration samples (rows, not files) to use; fewer present is a note"
    )
    evaluation_samples: Annotated[int, Field(gt=0)] | None = Field(
        default=None, description="evaluation samples to use; by default all"
    )
    seed: Annotated[int, Field(ge=0, lt=2**32)] = Field(
        default=0, description="seed of the sample choice; files are sorted first"
    )
    preprocess: Preprocess = Field(default=Preprocess(), description="preprocessing for every input")
    inputs: dict[str, InputSettings] = Field(default={}, description="overrides by model input name")
    labels: str | None = Field(
        default=None,
        description="where labels come from: a .csv file (file,label), an array name, `folders`, or `none`; by default found",
    )
    prepare: str | None = Field(
        default=None,
        description="`file.py:function` that replaces preprocessing: it receives the path of a file and returns {input name: array}",
    )
