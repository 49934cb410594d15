"""Pictures in memory to pixels, by the rules of image files: what other loaders give instead of an encoded image.

    Pillow image                              turned upright by its EXIF; modes as in pillow.py; one frame
    uint8 or bool array (h, w), (h, w, 1)     grey
    uint8 array (h, w, 3), (h, w, 4)          RGB; RGBA on white paper
    torch tensor                              as an array; (3, h, w), torch's own order, too

Anything else is refused with a reason: floats have no scale that all agree on, and an array (3, h, w) may be a picture
3 pixels high.
"""

from typing import TYPE_CHECKING, cast

import numpy as np
from numpy.typing import NDArray

from wdstream.errors import ConfigError, DecodeError
from wdstream.pixels.pillow import refuse_made_up_pixels, to_grey_or_rgb
from wdstream.records import CHANNELS, MAX_PIXELS, MAX_SIDE, Pixels

if TYPE_CHECKING:
    from PIL import Image

_CHANNELS = (1, 3, 4)
_RGBA = 4
_EXPECTED = "expected an encoded file (bytes), a Pillow image, or a uint8 array (h, w, 3), (h, w, 4) or (h, w)"


def pixels_of_picture(picture: object, *, max_pixels: int = MAX_PIXELS) -> Pixels:
    """The pixels of a picture in memory. May share its memory: treat as read-only.

    Raises:
        DecodeError: it is not a picture of the table above, cannot be loaded, or is above `max_pixels`.
        ConfigError: this process lets Pillow make up what truncated files lack.
    """
    try:
        if hasattr(picture, "getexif"):
            return _from_pillow(cast("Image.Image", picture), max_pixels)
        if isinstance(picture, np.ndarray):
            return _from_array(np.asarray(picture), max_pixels)
        if hasattr(picture, "detach") and hasattr(picture, "numpy"):
            return _from_tensor(np.asarray(picture.detach().cpu().numpy()), max_pixels)
    except (DecodeError, ConfigError):
        raise
    except Exception as error:  # pictures of strangers and Pillow's plugins raise whatever they like
        raise DecodeError(f"the image cannot be loaded: {type(error).__name__}: {error}") from error
    raise DecodeError(f"{_EXPECTED}; found {type(picture).__name__}")


def _from_pillow(image: "Image.Image", max_pixels: int) -> Pixels:
    from PIL import ImageOps

    refuse_made_up_pixels()
    _check_size(*image.size, max_pixels)
    num_frames = getattr(image, "n_frames", 1)
    if num_frames > 1 and image.format == "TIFF":
        raise DecodeError(f"a TIFF of {num_frames} pages; give each page as an image of its own")
    image.load()
    return _as_rgb(to_grey_or_rgb(ImageOps.exif_transpose(image)))


def _from_tensor(array: NDArray[np.generic], max_pixels: int) -> Pixels:
    """A tensor's array, whose channels may be first."""
    if array.ndim == 3 and array.shape[0] in _CHANNELS and array.shape[2] not in _CHANNELS:
        array = np.moveaxis(array, 0, 2)
    return _from_array(array, max_pixels)


def _from_array(array: NDArray[np.generic], max_pixels: int) -> Pixels:
    found = f"{_EXPECTED}; found an array of {array.dtype} {array.shape}"
    is_image = array.ndim == 2 or (array.ndim == 3 and array.shape[2] in _CHANNELS)
    if not is_image:
        hint = "; an array with its channels first is turned by array.transpose(1, 2, 0)" if array.ndim == 3 else ""
        hint = "; give the images of a stack one by one, in a list" if array.ndim == 4 else hint
        raise DecodeError(f"{found}{hint}")
    if array.dtype == np.bool_:
        array = array.astype(np.uint8) * np.uint8(255)
    if array.dtype != np.uint8:
        raise DecodeError(f"{found}; scale its values to 0..255 and make it uint8")
    _check_size(array.shape[1], array.shape[0], max_pixels)
    pixels = np.ascontiguousarray(array, dtype=np.uint8)
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[:, :, 0]
    if pixels.ndim == 3 and pixels.shape[2] == _RGBA:
        from PIL import Image

        pixels = to_grey_or_rgb(Image.fromarray(pixels))
    return _as_rgb(pixels)


def _as_rgb(pixels: NDArray[np.uint8]) -> Pixels:
    return np.repeat(pixels[:, :, None], CHANNELS, axis=2) if pixels.ndim == 2 else pixels


def _check_size(width: int, height: int, max_pixels: int) -> None:
    if width < 1 or height < 1:
        raise DecodeError(f"a picture of {width}x{height} pixels has none")
    if width * height > max_pixels:
        raise DecodeError(f"picture of {width}x{height} pixels is above the limit of {max_pixels} pixels (max_pixels)")
    if max(width, height) > MAX_SIDE:
        raise DecodeError(f"picture of {width}x{height} pixels: no side may be longer than {MAX_SIDE}")
