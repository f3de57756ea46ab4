# /// script
# requires-python = ">=3.11"
# dependencies = ["torch>=2.4", "scikit-learn", "onnx>=1.16", "onnxruntime", "numpy", "pillow"]
# ///
"""Train the four sample models and write their ONNX files and data sets next to this script.

All of them learn scikit-learn's handwritten digits (1797 grey images of 8x8 pixels) and share one split:
500 evaluation images that training never sees, and 1297 training images, 128 of which are also written
out as calibration data. The networks and their ONNX graphs are in networks.py.

    uv run sample_models/train.py [resnet|mobilenet|transformer|poolnet ...]
"""

import argparse
import shutil
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx
import onnxruntime as ort
import torch
import torch.nn.functional as F
from networks import ConvBN, ConvNet, Depthwise, PoolNet, Transformer, make_mobilenet, make_resnet
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor, nn

HERE = Path(__file__).resolve().parent
SEED = 7
KINDS = ["resnet", "mobilenet", "transformer", "poolnet"]
N_EVAL, N_CALIB, CALIB_BATCH = 500, 128, 8
GREY_MEAN, GREY_STD = (0.5,), (0.5,)
RGB_MEAN, RGB_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet's
Feeds = dict[str, np.ndarray]


class Split(NamedTuple):
    """The digits (uint8 8x8 images) and the row numbers of each part; ``calib`` is a subset of ``train``."""

    pixels: np.ndarray
    labels: np.ndarray
    train: np.ndarray
    calib: np.ndarray
    held_out: np.ndarray


def load_split() -> Split:
    """Load the digits and split them, stratified by class."""
    data = load_digits()
    pixels, labels = np.rint(data.images * 255 / 16).astype(np.uint8), data.target.astype(np.int64)
    rows = np.arange(len(labels))
    train, held_out = train_test_split(rows, test_size=N_EVAL, random_state=SEED, stratify=labels)
    _, calib = train_test_split(train, test_size=N_CALIB, random_state=SEED, stratify=labels[train])
    return Split(pixels, labels, train, np.sort(calib), np.sort(held_out))


def upscale(pixels: np.ndarray, size: int) -> np.ndarray:
    """Resize a stack of grey images with Pillow's bicubic filter."""
    shape = (size, size)
    return np.stack([np.asarray(Image.fromarray(p).resize(shape, Image.Resampling.BICUBIC)) for p in pixels])


def tint(grey: np.ndarray) -> np.ndarray:
    """Turn grey images into RGB ones, each multiplied by its own random colour."""
    colours = np.random.default_rng(SEED).uniform(0.3, 1.0, (len(grey), 1, 1, 3))
    return np.rint(grey[..., None] * colours).astype(np.uint8)


def preprocess(images: np.ndarray) -> np.ndarray:
    """Turn uint8 [N,H,W] or [N,H,W,3] into the float [N,C,H,W] that the convolutional models take."""
    mean, std = (RGB_MEAN, RGB_STD) if images.ndim == 4 else (GREY_MEAN, GREY_STD)
    x = images.reshape(*images.shape[:3], -1).astype(np.float32) / 255
    x = (x - np.array(mean, np.float32)) / np.array(std, np.float32)
    return np.ascontiguousarray(x.transpose(0, 3, 1, 2))


def tokenize(images: np.ndarray) -> Feeds:
    """Turn 16x16 images into sequences: one token a column, blank columns cut at both ends, padded to 16."""
    tokens, mask = np.zeros((len(images), 16, 16), np.float32), np.zeros((len(images), 16), np.int64)
    for row, image in enumerate(images):
        inked = np.flatnonzero(image.max(axis=0) >= 32)
        columns = image[:, inked[0] : inked[-1] + 1].T
        tokens[row, : len(columns)], mask[row, : len(columns)] = columns.astype(np.float32) / 255, 1
    return {"tokens": tokens, "mask": mask}


def augment(x: Tensor) -> Tensor:
    """Move a batch of images by up to two pixels, or the ink of a batch of sequences by one, plus noise."""
    if x.ndim == 3:
        return torch.roll(x, int(torch.randint(-1, 2, ())), dims=-1) + 0.05 * torch.randn_like(x)
    dy, dx = torch.randint(0, 5, (2,)).tolist()
    return F.pad(x, (2, 2, 2, 2), mode="replicate")[..., dy : dy + x.shape[2], dx : dx + x.shape[3]]


def fit(model: nn.Module, feeds: Feeds, labels: np.ndarray, epochs: int, batch: int = 64) -> None:
    """Train with AdamW and a one-cycle schedule; the first input of each batch is augmented."""
    inputs, targets = [torch.from_numpy(array) for array in feeds.values()], torch.from_numpy(labels)
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.05)
    steps = len(labels) // batch
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, epochs * steps)
    model.train()
    for epoch in range(epochs):
        for rows in torch.randperm(len(labels))[: steps * batch].view(steps, batch):
            first, *rest = (x[rows] for x in inputs)
            loss = F.cross_entropy(model(augment(first), *rest), targets[rows], label_smoothing=0.05)
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
            schedule.step()
        print(f"  epoch {epoch + 1:2d}/{epochs}  loss {loss.item():.4f}", flush=True)
    model.eval()


@torch.no_grad()
def skew_channels(net: ConvNet) -> None:
    """Spread the channel ranges ahead of depthwise convolutions without changing the network's function.

    A channel between a Relu and the one depthwise convolution that reads it is multiplied by a power of
    two in the BatchNorm before the Relu and divided by it in the depthwise weights, which is exact. The
    eighth of the channels that matters least shrinks to 2**-4 ... 2**-8, so its depthwise weights dwarf
    all others, as those of nearly dead channels do in trained MobileNets; the rest varies by 1/2 ... 2.
    """
    generator = torch.Generator().manual_seed(SEED)
    before: ConvBN | None = net.blocks["stem"]  # type: ignore[assignment]
    for block in list(net.blocks.values())[1:]:
        assert isinstance(block, Depthwise)
        if source := block.expand or before:
            depthwise, readers = block.depthwise, block.pointwise.conv.weight
            importance = depthwise.bn.weight.abs() * readers.flatten(1).norm(dim=0)
            weakest = importance.argsort()[: len(importance) // 8]
            power = torch.randint(-1, 2, importance.shape, generator=generator)
            power[weakest] = torch.randint(-8, -3, weakest.shape, generator=generator)
            source.bn.weight.mul_(2.0**power)
            source.bn.bias.mul_(2.0**power)
            depthwise.conv.weight.div_(2.0 ** power[:, None, None, None])
        before = block.pointwise if block.pointwise.act == "Relu" else None


def write_images(folder: Path, images: np.ndarray, split: Split) -> None:
    """Write ``calib/<class>/<row>.png`` and ``eval/<class>/<row>.png``."""
    for part, rows in ("calib", split.calib), ("eval", split.held_out):
        for row in rows:
            path = folder / part / str(split.labels[row]) / f"{row:04d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(images[row]).save(path, optimize=True)


def write_sequences(folder: Path, feeds: Feeds, split: Split) -> None:
    """Write calibration batches, each padded to its own longest row, and one evaluation file."""
    (folder / "calib").mkdir(parents=True)
    (folder / "eval").mkdir()
    tokens, mask = feeds["tokens"], feeds["mask"]
    lengths = mask.sum(axis=1)
    by_length = split.calib[np.argsort(lengths[split.calib], kind="stable")]
    for number, rows in enumerate(by_length.reshape(-1, CALIB_BATCH)):
        path, longest = folder / "calib" / f"batch_{number:04d}.npz", lengths[rows].max()
        np.savez_compressed(path, tokens=tokens[rows, :longest], mask=mask[rows, :longest])
    path, rows = folder / "eval" / "samples.npz", split.held_out
    np.savez_compressed(path, tokens=tokens[rows], mask=mask[rows], label=split.labels[rows])


def write_arrays(folder: Path, feeds: Feeds, split: Split) -> None:
    """Write ``calib/samples.npz`` and ``eval/samples.npz``: arrays by input name, and the labels of the latter."""
    for part, rows in ("calib", split.calib), ("eval", split.held_out):
        (folder / part).mkdir(parents=True)
        labels = {"label": split.labels[rows]} if part == "eval" else {}
        np.savez_compressed(folder / part / "samples.npz", **{k: v[rows] for k, v in feeds.items()}, **labels)


def read_eval(folder: Path) -> tuple[Feeds, np.ndarray]:
    """Read a model's evaluation set back from disk, as a user of the sample would."""
    if (folder / "eval" / "samples.npz").exists():
        data = dict(np.load(folder / "eval" / "samples.npz"))
        labels = data.pop("label")
        return data, labels
    paths = sorted((folder / "eval").glob("*/*.png"))
    labels = np.array([int(path.parent.name) for path in paths])
    return {"image": preprocess(np.stack([np.asarray(Image.open(path)) for path in paths]))}, labels


def main() -> None:
    """Train the models named on the command line, or all of them."""
    parser = argparse.ArgumentParser(description="Train the sample models and write their data sets.")
    parser.add_argument("models", nargs="*", metavar="model", help=f"{', '.join(KINDS)} (default: all)")
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    split = load_split()
    for kind in parser.parse_args().models or KINDS:
        torch.manual_seed(SEED)
        name, folder = f"digits_{kind}", HERE / f"digits_{kind}"
        shutil.rmtree(folder, ignore_errors=True)
        net: ConvNet | Transformer | PoolNet
        if kind == "transformer":
            net, feeds = Transformer(), tokenize(upscale(split.pixels, 16))
            write_sequences(folder, feeds, split)
        elif kind == "poolnet":
            net, pixels = PoolNet(), upscale(split.pixels, PoolNet.size)
            feeds = {"image": pixels[:, None].astype(np.float32) / 255}
            write_arrays(folder, feeds, split)
        else:
            net, images = make_resnet(), upscale(split.pixels, 32)
            if kind == "mobilenet":
                net, images = make_mobilenet(), tint(images)
            write_images(folder, images, split)
            feeds = {"image": preprocess(images)}
        print(f"{name}: {sum(p.numel() for p in net.parameters())} parameters")
        train = {key: array[split.train] for key, array in feeds.items()}
        fit(net, train, split.labels[split.train], epochs=80 if kind == "transformer" else 20)
        if isinstance(net, ConvNet) and kind == "mobilenet":
            skew_channels(net)
        path = folder / f"{name}.onnx"
        onnx.save(net.export(name), path)
        inputs, labels = read_eval(folder)
        session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
        logits = np.asarray(session.run(None, inputs)[0])
        with torch.no_grad():
            expected = net(*(torch.from_numpy(array) for array in inputs.values())).numpy()
        np.testing.assert_allclose(logits, expected, atol=1e-4, rtol=0)
        accuracy = (logits.argmax(axis=1) == labels).mean()
        print(f"{name}: {accuracy:.1%} of {len(labels)} held-out samples, {path.stat().st_size // 1000} kB")


if __name__ == "__main__":
    main()
