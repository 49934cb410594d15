"""What a family makes of an image, as parts: a family's `images` is one `ImageRules`, made of these or of its own.

    ResizedImages (resized.py)   an image keeps its shape: a size rule, a block of tokens, a layout of pixels
    Squares (squares.py)         an image is one square, or several where the family's processor splits images itself

Letters: K images, N patches or squares, P pixels of a patch's side, S pixels of a square's side.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from wdstream.errors import FamilyError
from wdstream.families.shared.model_folder import ModelFolder
from wdstream.records import CHANNELS, ImageSizes, Ints, Pixels, Size

if TYPE_CHECKING:
    import torch

Layout = Mapping[str, NDArray[Any]]
"""Arrays of images or of a batch, by the name of the model's argument: uint8 pixels, int64 sizes."""
BatchMapping = Mapping[str, Any]
"""A collated batch: the tensors of `Layout` and the text side, see wdstream/batches/batch.py."""
Inputs = dict[str, Any]
"""Keyword arguments of `model.forward`."""

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
"""Of CLIP's normalisation, which many image processors default to; per channel, for pixels in [0, 1]."""
HALF = (0.5, 0.5, 0.5)
PILLOW_FILTERS = {1: "lanczos", 2: "bilinear", 3: "bicubic"}
"""Pillow's numbers for resampling filters, as preprocessor_config.json holds them."""
_RESCALE = 1 / 255
_STEPS = {"do_resize": True, "do_rescale": True, "do_normalize": True, "do_center_crop": False}
"""Steps of an image processor, and whether wdstream takes them."""


class ImageRules(ImageSizes, Protocol):
    """How many tokens and patches an image has, which ids stand for it, and how its pixels go to the model."""

    @property
    def is_splitting(self) -> bool:
        """Whether images are split into several as the family's own processor does."""

    @property
    def pixels(self) -> "ProcessorSettings":
        """How pixels are resized and normalised."""

    def whole(self) -> Self:
        """The rules for images that wdstream does not cut: split as the processor does, if it does."""

    def length_rules(self) -> Mapping[str, object]:
        """All settings that decide how many tokens and patches an image has; JSON-serialisable."""

    def cost(self, widths: Ints, heights: Ints) -> tuple[Ints, Ints]:
        """(tokens, patches) of images of these sizes in pixels, int64 of the same shape; -1 where a size is refused."""

    def resized(self, width: int, height: int) -> Size:
        """The size in pixels to which an image is resized; raises FamilyError where it is refused."""

    def ids(self, width: int, height: int) -> Ints:
        """int64 ids of the block of an image whose size is not refused."""

    def grid(self, width: int, height: int) -> tuple[int, int]:
        """(columns, rows) of the tokens of an image (ResizedImages), or of its squares (Squares)."""

    def layout(self, tiles: Sequence[Pixels]) -> Layout:
        """Resize images and lay them out as the model wants them, still uint8; for no images, arrays of length 0."""

    def collate(self, parts: Sequence[Layout]) -> Layout:
        """Join the arrays of several `layout` calls, images in order."""

    def inputs(self, batch: BatchMapping, *, device: "torch.device | str", dtype: "torch.dtype") -> Inputs:
        """Keyword arguments that carry the images of a batch that has any: moved and normalised."""


class TokenBlock(Protocol):
    """The ids that stand for an image of (columns, rows) merged patches, those around and inside it included."""

    def count(self, columns: Ints, rows: Ints) -> Ints:
        """How many they are, for images of these grids."""

    def ids(self, columns: int, rows: int) -> Ints:
        """The ids of one image; int64."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MarkedBlock:
    """A placeholder for each merged patch, with marks before and after them all, or none."""

    image_id: int
    before: tuple[int, ...] = ()
    after: tuple[int, ...] = ()

    def count(self, columns: Ints, rows: Ints) -> Ints:
        """Placeholders and marks, for images of these grids."""
        return columns * rows + len(self.before) + len(self.after)

    def ids(self, columns: int, rows: int = 1) -> Ints:
        """The ids of one image; int64."""
        ids = np.full(len(self.before) + columns * rows + len(self.after), self.image_id, dtype=np.int64)
        ids[: len(self.before)] = self.before
        ids[len(ids) - len(self.after) :] = self.after
        return ids


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessorSettings:
    """How pixels are resized and normalised.

    Attributes:
        mean, std: of the normalisation, per channel, for pixels in [0, 1]; where the processor's settings rescale
            pixels to another range, that is in them.
        resample: filter of the resize: bilinear, bicubic or lanczos.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    resample: str

    @classmethod
    def read(
        cls,
        folder: ModelFolder,
        *,
        mean: Sequence[float] = CLIP_MEAN,
        std: Sequence[float] = CLIP_STD,
        pillow_filter: int = 3,
        normalises: bool = True,
    ) -> Self:
        """As the image processor's settings say, and where they say nothing, as its class does (the arguments;
        `normalises`: whether it does, which no settings change here).

        Raises:
            FamilyError: they have steps, a filter or numbers that wdstream does not have; names the setting.
        """
        settings = folder.image_settings
        require_image_steps(folder, {**_STEPS, "do_normalize": normalises})
        if not normalises:
            mean, std, settings = (0.0,) * CHANNELS, (1.0,) * CHANNELS, {}
        means = tuple(float(value) for value in settings.get("image_mean") or mean)
        deviations = tuple(float(value) for value in settings.get("image_std") or std)
        is_usable = all(map(math.isfinite, means)) and all(0 < value < math.inf for value in deviations)
        if not (is_usable and len(means) == len(deviations) == CHANNELS):
            raise FamilyError(
                f"{folder.path}: the image processor's settings normalise by image_mean {means} and image_std "
                f"{deviations}; expected {CHANNELS} finite numbers each, those of image_std above 0"
            )
        times = _range_of(folder)
        if times != 1:  # (x * factor - mean) / std is (x / 255 - mean / times) / (std / times)
            means, deviations = tuple(m / times for m in means), tuple(d / times for d in deviations)
        return cls(mean=means, std=deviations, resample=_filter_of(folder, pillow_filter))

    def normalised(
        self,
        pixels: "torch.Tensor",
        *,
        device: "torch.device | str",
        dtype: "torch.dtype",
        copies: int = 1,
        is_interleaved: bool = False,
    ) -> "torch.Tensor":
        """uint8 (N, ...) moved and normalised on the device, (N, copies * bytes of one); floats are only moved."""
        from wdstream.pixels.normalise import normalise_patches

        moved = pixels.to(device, non_blocking=True)
        return normalise_patches(
            moved.flatten(1),
            mean=self.mean,
            std=self.std,
            temporal_patch_size=copies,
            dtype=dtype,
            is_interleaved=is_interleaved,
        )


def require_image_steps(folder: ModelFolder, wanted: Mapping[str, bool] = _STEPS) -> None:
    """The steps of the image processor must be those that wdstream takes: else a model would see other pixels.

    Raises:
        FamilyError: names the one that is off, or on.
    """
    for key, is_on in wanted.items():
        if bool(folder.image_settings.get(key, is_on)) is not is_on:
            raise FamilyError(
                f"{folder.path}: the image processor's settings switch {key} {'off' if is_on else 'on'}, which "
                "wdstream does not support; remove the key from preprocessor_config.json"
            )


def _range_of(folder: ModelFolder) -> float:
    """How many times larger than in [0, 1] the processor has pixels: 1 for nearly all."""
    factor = folder.image_settings.get("rescale_factor", _RESCALE)
    if isinstance(factor, bool) or not isinstance(factor, int | float) or not 0 < factor < math.inf:
        raise FamilyError(
            f"{folder.path}: rescale_factor is {factor!r:.40} in the image processor's settings; expected a number "
            "above 0, which is 1/255 in nearly all models"
        )
    return 1.0 if factor == _RESCALE else factor * 255


def _filter_of(folder: ModelFolder, default: int) -> str:
    """The filter of the resize."""
    number = folder.image_settings.get("resample", default)
    number = default if number is None else number
    if isinstance(number, bool) or number not in PILLOW_FILTERS:
        known = ", ".join(f"{filter} ({name})" for filter, name in PILLOW_FILTERS.items())
        raise FamilyError(
            f"{folder.path}: resample is {number!r:.40} in the image processor's settings; wdstream knows {known}"
        )
    return PILLOW_FILTERS[number]


def join_arrays(parts: Sequence[Layout]) -> Layout:
    """The arrays of all parts below each other; those of a single part are passed on without a copy."""
    if len(parts) == 1:
        return dict(parts[0])
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
