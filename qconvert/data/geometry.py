"""Sizes and places of resized and cropped images, in whole pixels; pure arithmetic."""

from __future__ import annotations

from typing import TypeAlias

from .settings import Resize, Size

Area: TypeAlias = tuple[int, int]  # height, width in pixels


def pair(size: Size) -> Area:
    """[height, width] of a size that may be one number for a square."""
    return (size, size) if isinstance(size, int) else size


def resized(area: Area, resize: Resize) -> Area:
    """Size of the image content after resizing; sides that are not given are rounded down, never below 1.

    shortest: the smallest size of the same ratio that covers `size`; letterbox: the largest that fits inside it.
    """
    (height, width), (to_h, to_w) = area, pair(resize.size)
    if resize.mode == "stretch":
        return to_h, to_w
    by_height = to_h * width >= to_w * height  # scaling by the height gives the larger image
    if by_height == (resize.mode == "shortest"):
        return to_h, max(1, width * to_h // height)
    return max(1, height * to_w // width), to_w


def offset(content: Area, resize: Resize) -> Area:
    """Top and left of the content in the canvas of a letterbox; a free odd pixel goes to the bottom and the right."""
    if resize.anchor == "top-left":
        return 0, 0
    to_h, to_w = pair(resize.size)
    return (to_h - content[0]) // 2, (to_w - content[1]) // 2


def crop_box(area: Area, crop: Size) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of a centre crop; half pixels are rounded to even, as torchvision does.

    The box reaches over the edge where the image is smaller than the crop.
    """
    (height, width), (to_h, to_w) = area, pair(crop)
    top, left = round((height - to_h) / 2), round((width - to_w) / 2)
    return left, top, left + to_w, top + to_h


def after(area: Area, resize: Resize | None, crop: Size | None) -> Area:
    """Size of an image after resize and crop."""
    if resize is not None:
        area = pair(resize.size) if resize.mode == "letterbox" else resized(area, resize)
    return pair(crop) if crop is not None else area
