"""`pixels: reference`: the layout of a family, its values computed by the model's own Hugging Face image processor.

The processor resizes, rescales and normalises the very tiles that `layout` would take, in float32 on the host; number,
order and shape of the arrays are the family's. What is left to `model_inputs` is to move them.
"""

import copy
from collections.abc import Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from wdstream.errors import FamilyError
from wdstream.families.base import Family
from wdstream.families.reference.processor import load_processor
from wdstream.families.shared.images import Layout
from wdstream.records import Pixels

PIXELS = "pixel_values"
AnyFamily = TypeVar("AnyFamily", bound=Family)


def with_reference_pixels(family: AnyFamily) -> AnyFamily:
    """The family with the layout of its processor.

    Raises:
        FamilyError: the processor gives other arrays than the family; names both shapes.
    """
    layout = ReferenceLayout(family)
    layout([])  # a processor that does not fit is found before the first step
    twin = copy.copy(family)
    twin.layout = layout  # type: ignore[method-assign]
    return twin


class ReferenceLayout:
    """`Family.layout` by the processor: float32 in place of uint8, everything else as the family has it."""

    def __init__(self, family: Family) -> None:
        self._family = family
        self._layout = family.layout
        self._processor = load_processor(family).image_processor
        side = 2 * family.size_multiple
        self._blank: Pixels = np.zeros((side, side, 3), dtype=np.uint8)

    def __call__(self, tiles: Sequence[Pixels]) -> Layout:
        """The arrays of some tiles; for none, arrays of length 0."""
        if not tiles:
            return {name: array[:0] for name, array in self([self._blank]).items()}
        from PIL import Image

        arrays = self._layout(tiles)
        images = [Image.fromarray(np.ascontiguousarray(tile)) for tile in tiles]
        rules = self._family.processor_rules()
        settings = {**rules.call_settings, "return_tensors": "np"}
        pixels = np.asarray(self._processor(images=rules.images_of(images), **settings)[PIXELS], dtype=np.float32)
        if rules.pixels is not None:
            pixels = rules.pixels(pixels, arrays)
        return {**arrays, PIXELS: self._shaped(pixels, arrays[PIXELS])}

    def _shaped(self, found: NDArray[np.float32], own: NDArray[np.uint8]) -> NDArray[np.float32]:
        """The processor's array in the family's shape; with T temporal copies, rows are T times as long."""
        if found.size == own.size:
            return found.reshape(own.shape)
        if own.ndim == 2 and found.ndim == 2 and len(found) == len(own) and found.shape[1] % own.shape[1] == 0:
            return found
        raise FamilyError(
            f"pixels: reference cannot serve family {self._family.name}: its processor gives {PIXELS} of "
            f"{found.shape}, the family {own.shape}; use pixels: fast"
        )
