"""Tiles of a page: crops that are views, resized in uint8, put on a canvas only where the plan leaves room around them.

Bilinear and bicubic are `torch.nn.functional.interpolate` with antialias: the filters of Pillow, in vector code for
interleaved RGB, within 2 grey levels of Pillow's same-named filter on real pages. Lanczos is Pillow itself, which torch
lacks. Everything here runs on the calling thread alone: no torch operation used starts its thread pool, so that worker
threads scale and never oversubscribe the machine.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import interpolate

from wdstream.errors import DecodeError
from wdstream.pixels.grey import grey_as_rgb, is_grey
from wdstream.records import Box, Pixels, Placement, Size, TilePlan

RESAMPLES = ("bilinear", "bicubic", "lanczos")
_LANES = 4  # torch's uint8 kernel works on 3 or 4 interleaved channels


def render_tiles(image: Pixels, plan: TilePlan, *, resample: str) -> tuple[Pixels, ...]:
    """Cut an image by its plan. Tiles may be views of `image` (native size) and of each other: treat them as read-only.

    Args:
        image: uint8 (height, width, 3), of the size the plan was made for.
        plan: boxes, content sizes and canvases.
        resample: bilinear, bicubic or lanczos.

    Returns:
        One uint8 (h, w, 3) a box, in the plan's order; (w, h) is `plan.sizes`.

    Raises:
        DecodeError: a box of the plan lies outside the image, so the image is not the one the plan was made for.
        ValueError: an unknown resample.
    """
    tiles = []
    for box, size, placement in zip(plan.boxes, plan.sizes, plan.placements, strict=True):
        content = resize(_crop(image, box), (placement.width, placement.height), resample)
        is_covered = size == (placement.width, placement.height)
        tiles.append(content if is_covered else _on_canvas(content, size, placement, plan.pad_color))
    return tuple(tiles)


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
        return grey_as_rgb(_resize_plane(image[..., 0], size, resample))
    return _interpolate(image, size, resample)


def _crop(image: Pixels, box: Box) -> Pixels:
    """The view of a box."""
    left, top, right, bottom = box
    height, width = image.shape[:2]
    if not (0 <= left < right <= width and 0 <= top < bottom <= height):
        raise DecodeError(
            f"the tile plan cuts the box {box} out of an image of {width}x{height} pixels: the plan was made for an "
            "image of another size; make the index of this shard anew"
        )
    return image[top:bottom, left:right]


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


def _resize_plane(plane: NDArray[np.uint8], size: Size, resample: str) -> NDArray[np.uint8]:
    """A grey (h, w) plane at (width, height), the bytes that `_interpolate` gives for it as RGB, in half the time.

    torch's kernel turns a single plane into four channels and back. But a pass along the height does not mix columns,
    so four neighbouring columns can pass as the four channels of one pixel; the pass along the width, which comes
    first, is the same on the transposed plane.
    """
    width, height = size
    narrow = _resize_height(np.ascontiguousarray(plane.T), width, resample)
    return _resize_height(np.ascontiguousarray(narrow.T), height, resample)


def _resize_height(plane: NDArray[np.uint8], height: int, resample: str) -> NDArray[np.uint8]:
    """A contiguous (h, w) plane with its height resized and its width kept."""
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
