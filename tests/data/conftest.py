from __future__ import annotations

import wave
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from qconvert.data import Dataset, DatasetSettings, open_dataset
from qconvert.errors import Diagnostic, QConvertError
from qconvert.graph import TensorType

OpenDataset = Callable[..., Dataset]


class Maker:
    """Writes sample files under one folder."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def path(self, name: str) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def text(self, name: str, text: str) -> Path:
        path = self.path(name)
        path.write_text(text, encoding="utf-8")
        return path

    def image(self, name: str, size: tuple[int, int] = (8, 8), color: Any = (10, 20, 30), mode: str = "RGB") -> Path:
        """`size` is (height, width)."""
        path = self.path(name)
        Image.new(mode, size[::-1], color).save(path)
        return path

    def npy(self, name: str, array: Any) -> Path:
        np.save(self.path(name), np.asarray(array))
        return self.root / name

    def npz(self, name: str, **arrays: Any) -> Path:
        np.savez(self.path(name), **arrays)
        return self.root / name

    def wav(self, name: str, samples: Any, rate: int = 16000, channels: int = 1, width: int = 2) -> Path:
        with wave.open(str(self.path(name)), "wb") as file:
            file.setnchannels(channels)
            file.setsampwidth(width)
            file.setframerate(rate)
            file.writeframes(np.asarray(samples, "<i2").tobytes())
        return self.root / name


class Opener:
    """Opens the folder for a model given as {"x": "float32[N,3,8,8]"} and settings given as keywords."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def __call__(
        self, model: dict[str, str], folder: str = ".", base_dir: Path | None = None, **settings: Any
    ) -> Dataset:
        types = {name: tensor_type(text) for name, text in model.items()}
        return open_dataset(self.root / folder, types, DatasetSettings(**settings), base_dir or self.root)

    def mistakes(self, model: dict[str, str], folder: str = ".", **settings: Any) -> tuple[Diagnostic, ...]:
        """The diagnostics of opening and reading, which has to fail."""
        with pytest.raises(QConvertError) as caught:
            self._open_and_read(model, folder, **settings)
        return caught.value.diagnostics

    def _open_and_read(self, model: dict[str, str], folder: str, **settings: Any) -> None:
        data = self(model, folder, **settings)
        for part in (data.calibration, data.evaluation):
            list(part or [])

    def mistake(self, model: dict[str, str], folder: str = ".", **settings: Any) -> Diagnostic:
        found = self.mistakes(model, folder, **settings)
        assert len(found) == 1, found
        return found[0]


def tensor_type(text: str) -> TensorType:
    dtype, _, dims = text.removesuffix("]").partition("[")
    parts = [d for d in dims.split(",") if d]
    return TensorType(dtype, tuple(None if d == "?" else int(d) if d.isdigit() else d for d in parts))


@pytest.fixture
def make(tmp_path: Path) -> Maker:
    return Maker(tmp_path)


@pytest.fixture
def data(tmp_path: Path) -> Opener:
    return Opener(tmp_path)
