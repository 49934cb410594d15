"""Tiles of a page: crops that are views, resized in uint8, put on a canvas only where the plan leaves room around them.

Bilinear and bicubic are `torch.nn.functional.interpolate` with antialias: the filters of Pillow, in vector code for
interleaved RGB, within 2 grey levels of Pillow's same-named filter on real pages. Lanczos is Pillow itself, which torch
lacks. Everything here runs on the calling thread alone: no torch operation used starts its thread pool, so that worker
threads scale and never oversubscribe the machine.
"""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import interpolate

from wdstream.errors import DecodeError
from wdstream.pixels.grey import grey_as_rgb, is_grey
from wdstream.records import RESAMPLES, Box, Pixels, Placement, Size, TilePlan

_LANES = 4  # torch's uint8 kernel works on 3 or 4 interleaved channels


def render_tiles(
    image: Pixels, plan: TilePlan, *, resample: str, scaled_from: Size | None = None
) -> tuple[Pixels, ...]:
    """Cut an image by its plan. Tiles may be views of `image` (native size) and of each other: treat them as read-only.

    Args:
        image: uint8 (height, width, 3), of the size the plan was made for.
        plan: boxes, content sizes and canvases.
        resample: bilinear, bicubic or lanczos.
        scaled_from: (width, height) of the page when `image` was decoded smaller (`scaled_decode_size`): boxes are
            scaled to it, rounded to whole pixels.

    Returns:
        One uint8 (h, w, 3) per box, in the plan's order; (w, h) is `plan.sizes`.

    Raises:
        DecodeError: a box of the plan is outside the image, so the image is not the one the plan was made for.
        ValueError: an unknown resample.
    """
    tiles = []
    for box, size, placement in zip(plan.boxes, plan.sizes, plan.placements, strict=True):
        scaled = box if scaled_from is None else _scaled_box(box, scaled_from, (image.shape[1], image.shape[0]))
        content = resize(_crop(image, scaled), (placement.width, placement.height), resample)
        is_covered = size == (placement.width, placement.height)
        tiles.append(content if is_covered else _on_canvas(content, size, placement, plan.pad_color))
    return tuple(tiles)


def scaled_decode_size(plan: TilePlan, page: Size) -> Size | None:
    """The (width, height) a page may be decoded at, for `decode_image(min_size=...)`, with no tile enlarged from it.

    None when a tile needs more than half the page's resolution: only from half on does a scaled decode save time.
    """
    scale = max(
        max(placement.width / (box[2] - box[0]), placement.height / (box[3] - box[1]))
        for box, placement in zip(plan.boxes, plan.placements, strict=True)
    )
    return None if scale > 0.5 else (math.ceil(page[0] * scale), math.ceil(page[1] * scale))


def resize(image: Pixels, size: Size, resample: str) -> Pixels:
    """An image at (width, height); the very image when it has that size already.

    A grey image (channel stride 0) is resized as one plane and stays grey.

    Raises:
        ValueError: an unknown resample.
    """
    if resample not in RESAMPLES:
        raise ValueError(f"unknown resample {resample!r}; expected one of {', '.join(RESAMPLES)}")
    if size == (image.shape[1], image.shape[0]):
        return image
    if resample == "lanczos":
        return _resize_with_pillow(image, size)
    if is_grey(image):
        # torch's kernel turns a single plane into four channels and back. But a pass along the width does not mix rows,
        # so four rows can pass as the four channels of one; a pass along the height, which comes second, does not mix
        # columns. The bytes are those of `_interpolate` for the plane as RGB, in half the time.
        plane = _resize_width(image[..., 0], size[0], resample)
        return grey_as_rgb(_resize_height(plane, size[1], resample))
    return _interpolate(image, size, resample)


def _crop(image: Pixels, box: Box) -> Pixels:
    """The view of a box."""
    left, top, right, bottom = box
    height, width = image.shape[:2]
    if not (0 <= left < right <= width and 0 <= top < bottom <= height):
        raise DecodeError(
            f"the tile plan cuts the box {box} out of an image of {width}x{height} pixels: the plan was made for an "
            "image of another size; make the index of this shard again"
        )
    return image[top:bottom, left:right]


def _scaled_box(box: Box, page: Size, scaled: Size) -> Box:
    """A box of a page on the page decoded smaller, at least one pixel wide and high."""
    left, right = (round(side * scaled[0] / page[0]) for side in (box[0], box[2]))
    top, bottom = (round(side * scaled[1] / page[1]) for side in (box[1], box[3]))
    left, top = min(left, scaled[0] - 1), min(top, scaled[1] - 1)
    return left, top, max(right, left + 1), max(bottom, top + 1)


def _on_canvas(content: Pixels, size: Size, placement: Placement, color: tuple[int, int, int]) -> Pixels:
    """Content pasted on a canvas of (width, height) in one colour."""
    canvas = np.empty((size[1], size[0], 3), np.uint8)
    canvas[:] = color
    bottom, right = placement.top + placement.height, placement.left + placement.width
    canvas[placement.top : bottom, placement.left : right] = content
    return canvas


def _interpolate(image: NDArray[np.uint8], size: Size, resample: str) -> NDArray[np.uint8]:
    """(h, w, 3 or 4) interleaved -> the same at (width, height)."""
    # numpy copies a crop on this thread; torch would start its pool for it. `unsqueeze`, not `[None]` in numpy: numpy
    # gives the new axis a stride of 0, torch then takes the image for planar and needs twice as long.
    tensor = torch.from_numpy(np.ascontiguousarray(image)).unsqueeze(0).permute(0, 3, 1, 2)
    resized = interpolate(tensor, size=(size[1], size[0]), mode=resample, antialias=True)
    interleaved: NDArray[np.uint8] = resized.permute(0, 2, 3, 1).squeeze(0).numpy()
    return interleaved


def _resize_width(plane: NDArray[np.uint8], width: int, resample: str) -> NDArray[np.uint8]:
    """An (h, w) plane with its width resized and its height kept."""
    height, old_width = plane.shape
    if width == old_width:
        return plane
    lanes = np.empty((-(-height // _LANES), old_width, _LANES), np.uint8)  # of the last row some may stay unfilled
    resized = np.empty((height, width), np.uint8)
    for lane in range(min(_LANES, height)):
        rows = plane[lane::_LANES]
        lanes[: len(rows), :, lane] = rows
    wide = _interpolate(lanes, (width, len(lanes)), resample)
    for lane in range(min(_LANES, height)):
        rows = resized[lane::_LANES]
        rows[:] = wide[: len(rows), :, lane]
    return resized


def _resize_height(plane: NDArray[np.uint8], height: int, resample: str) -> NDArray[np.uint8]:
    """An (h, w) plane with its height resized and its width kept."""
    old_height, width = plane.shape
    if height == old_height:
        return plane
    padding = -width % _LANES
    if padding:
        plane = np.pad(plane, ((0, 0), (0, padding)))
    lanes = (width + padding) // _LANES
    resized = _interpolate(plane.reshape(old_height, lanes, _LANES), (lanes, height), resample)
    return resized.reshape(height, width + padding)[:, :width]


def _resize_with_pillow(image: Pixels, size: Size) -> Pixels:
    """Pillow's Lanczos; grey stays grey."""
    from PIL import Image

    stored = np.ascontiguousarray(image[..., 0] if is_grey(image) else image)
    resized = np.array(Image.fromarray(stored).resize(size, Image.Resampling.LANCZOS))
    return grey_as_rgb(resized) if is_grey(image) else resized
