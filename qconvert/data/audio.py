"""16-bit PCM .wav files: one row each, mono, int16 / 32768 as float32, so that full scale is -1..1."""

from __future__ import annotations

import wave
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from ..errors import Diagnostic, Severity, fail
from .check import check_shapes
from .inputs import Input, Wanted
from .preprocess import Style, final_shape
from .source import Item, Row, Source

if TYPE_CHECKING:
    from ..graph import Array

BROKEN = (OSError, wave.Error, EOFError, ValueError)


@dataclass(frozen=True)
class WavFile(Source):
    """One .wav file.

    Attributes:
        rate: sample rate in Hz.
        frames: length in samples of one channel.
    """

    rate: int = 0
    frames: int = 0
    style: ClassVar[Style] = Style(flat=True, parsed=True, fill=True)

    def check(self, rows: Sequence[int]) -> list[Diagnostic]:
        """Compare the length in the header with the input."""
        inp = self.wanted.inputs[0]
        return check_shapes({inp.name: final_shape((self.frames,), inp, self.style)}, self.wanted, self.name)

    def read(self, rows: Sequence[int]) -> Iterator[Row]:
        """Decode the file: float32 [frames], the mean over the channels."""
        for index in rows:
            yield Row(index, {self.wanted.inputs[0].name: decode_wav(self.item)})


def open_wav(item: Item, wanted: Wanted) -> WavFile:
    """Describe a .wav file from its header.

    Raises:
        QConvertError: D003 (unreadable or not 16-bit PCM), D006 (several inputs), D010 (input is no waveform).
    """
    inp = wanted.only("audio files")
    _check_input(inp)
    try:
        with wave.open(str(item.path), "rb") as file:
            width, rate, frames = file.getsampwidth(), file.getframerate(), file.getnframes()
            if item.path.stat().st_size < frames * file.getnchannels() * width:
                raise EOFError(f"{frames} samples announced, the file is shorter")
    except BROKEN as error:
        raise _unreadable(item, error) from error
    if width != 2:
        raise fail("D003", f"{8 * width}-bit samples, 16-bit PCM is read", item.name, "convert the file to 16-bit PCM")
    return WavFile(item, (item.path,), wanted, rate=rate, frames=frames)


def decode_wav(item: Item) -> Array:
    """All samples of a file as float32 [frames]: int16 / 32768, the mean of the channels.

    Raises:
        QConvertError: D003.
    """
    try:
        with wave.open(str(item.path), "rb") as file:
            announced, channels = file.getnframes(), file.getnchannels()
            data = file.readframes(announced)
    except BROKEN as error:
        raise _unreadable(item, error) from error
    if len(data) < announced * channels * 2:
        raise _unreadable(item, EOFError(f"{announced} samples announced, {len(data) // (2 * channels)} there"))
    samples = np.frombuffer(data, "<i2").reshape(-1, channels).astype(np.float32) / np.float32(32768)
    mono: Array = samples.mean(axis=1, dtype=np.float32)
    return mono


def audio_notes(sources: Sequence[Source]) -> tuple[Diagnostic, ...]:
    """The sample rates, and how many files were cut or filled up; a warning if the rates differ."""
    files = [s for s in sources if isinstance(s, WavFile)]
    rates = Counter(f.rate for f in files)
    listed = ", ".join(f"{rate} Hz ({n} files)" for rate, n in sorted(rates.items()))
    text = f"audio is int16 / 32768, not resampled: {listed}{_fitted(files)}"
    found = [Diagnostic("D104", text, severity=Severity.NOTE)]
    if len(rates) > 1:
        hint = "resample all files to the rate that the model was trained with"
        found.append(Diagnostic("D101", f"files of different sample rates: {listed}", None, hint, Severity.WARNING))
    return tuple(found)


def _fitted(files: Sequence[WavFile]) -> str:
    lengths = [(f.frames, int(np.prod(final_shape((f.frames,), f.wanted.inputs[0], f.style)))) for f in files]
    cut = sum(a > b for a, b in lengths)
    padded = sum(a < b for a, b in lengths)
    return "".join([f"; {cut} truncated" if cut else "", f"; {padded} padded" if padded else ""])


def _check_input(inp: Input) -> None:
    row = inp.row
    if row is None or len(row) == 1 or (len(row) == 2 and 1 in row):
        return
    hint = "`dataset.prepare: file.py:function` can compute features such as spectrograms"
    raise fail("D010", f"input `{inp.name}` is not a waveform of one channel", hint=hint)


def _unreadable(item: Item, error: Exception) -> Exception:
    text = str(error) or "the file ends too early"
    return fail("D003", f"cannot be read: {text}", item.name, "16-bit PCM .wav files are read")
