"""Idefics3, SmolVLM and SmolVLM2: squares of one size, each between marks and after its name.

    a tile   <fake_token_around_image> <global-img> <image> x n <fake_token_around_image>

             with `labels: family`: <row_1_col_2> instead of <global-img>, but for the overview

    split    <fake..> <row_1_col_1> <image> x n  <fake..> <row_1_col_2> <image> x n ... newline      each row of squares
             newline <fake..> <global-img> <image> x n <fake..>                                      the whole image

The two newlines before the overview are one piece of text. An image to split is resized three times, as the processor
does: its longer side to `size`, both sides up to whole squares, and the result once more to one square, the overview.

The processor makes its first resize for images it does not split as well: up to `size` and down again to a square. A
tile is resized once instead, and a tile of a square's size not at all (`do_resize` off; tests say how far that is from
the processor's default). The model wants all squares of a batch as one row of images (1, N, 3, S, S).

SmolVLM has larger squares and more patches a feature. Its reference is Idefics3's processor too: its own makes the same
ids of images, but asks for a package that only spells out the number of frames of a video.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from wdstream.errors import FamilyError
from wdstream.families.base import Family
from wdstream.families.shared.images import HALF, BatchMapping, Inputs, ProcessorSettings
from wdstream.families.shared.model_folder import ModelFolder, language_shape, tower_defaults, tower_shape
from wdstream.families.shared.processor_rules import ProcessorRules
from wdstream.families.shared.squares import (
    Grid,
    Squares,
    SquareTower,
    cost_by_square,
    cut,
    stretched,
    with_overview,
)
from wdstream.plan.deal import training_flops
from wdstream.records import Ints, Pixels, Size

if TYPE_CHECKING:
    import torch

DEFAULT_SIDE = 364
MAX_LONGEST_EDGE = 4096
"""Pixels; the processor never resizes to more (`MAX_IMAGE_SIZE` of its module)."""
LABEL = re.compile(r"<row(\d+)_col(\d+)>")
_MARK, _WHOLE, _IMAGE = "<fake_token_around_image>", "<global-img>", "<image>"
_VISION = tower_defaults(width=1152, mlp=3072, layers=12, image_size=224, patch_size=32)
"""What config.json may leave to the defaults of its transformers class."""


class Idefics3(Family):
    """Idefics3 (`Idefics3ForConditionalGeneration`) and SmolVLM (`SmolVLMForConditionalGeneration`)."""

    structural_tokens: ClassVar[tuple[str, ...]] = (
        *(_MARK, _IMAGE, _WHOLE, "<end_of_utterance>"),
        *(f"<row_{row}_col_{column}>" for row in range(1, 7) for column in range(1, 7)),
    )
    image_prompt: ClassVar[str] = _IMAGE
    processor_class = "Idefics3Processor"

    def __init__(self, folder: ModelFolder, name: str) -> None:
        super().__init__(folder, name)
        self.image_id = self.require_token(_IMAGE, folder.config.get("image_token_id"))
        # `size` is that of a page before it is split, `max_image_size` that of one square.
        side = int((folder.image_settings.get("max_image_size") or {}).get("longest_edge", DEFAULT_SIDE))
        tower = SquareTower.read(folder, _VISION, side=side)
        # Patches are shuffled together by this factor along each side.
        self.tokens_per_square = tower.num_patches // int(folder.config.get("scale_factor", 2)) ** 2
        pixels = ProcessorSettings.read(folder, mean=HALF, std=HALF, pillow_filter=1)
        self.has_own_labels = None not in (self.encoder.find_id(_WHOLE), self.encoder.find_id(tile_name(0, 0)))
        block = np.array([*self._square(_WHOLE), self.require_token(_MARK)], dtype=np.int64)
        splitting = self._read_splitting(folder, side, block, pixels.resample)
        self.images = OneRowOfSquares(tower, block, pixels, splitting)
        cost = training_flops(**language_shape(folder), **tower_shape(tower.vision))
        self.cost = cost_by_square(cost, tower.num_patches)

    def labelled_ids(self, size: Size, label: str) -> Ints:
        """The block with the tile's own name in it; beyond the 6 x 6 names that there are, the name of an overview."""
        ids = self.image_ids(*size)
        name_id = self.encoder.find_id(own_name(label))
        return ids if name_id is None else np.where(np.arange(len(ids)) == 1, name_id, ids)

    def processor_rules(self) -> ProcessorRules:
        """The processor needs the number of placeholders of an image."""
        return ProcessorRules(
            settings={"image_seq_len": self.tokens_per_square},
            untiled_settings={"do_image_splitting": False, "do_resize": False},
        )

    def _square(self, name: str) -> list[int]:
        """Mark, name and placeholders of one square; a name that is not a token of its own is text."""
        name_id = self.encoder.find_id(name)
        named = self.encoder.encode(name) if name_id is None else [name_id]
        return [self.require_token(_MARK), *named, *[self.image_id] * self.tokens_per_square]

    def _read_splitting(self, folder: ModelFolder, side: int, block: Ints, resample: str) -> "NamedSquares":
        """How the processor splits: the longer side before, and the ids of all squares.

        Raises:
            FamilyError: the settings do not say the longer side.
        """
        settings = folder.image_settings
        size = settings.get("size") or {"longest_edge": 4 * DEFAULT_SIDE}
        resizes = settings.get("do_resize", True)
        if not 1 <= size.get("longest_edge", 0) <= MAX_LONGEST_EDGE or resizes is not True:
            raise FamilyError(
                f"{folder.path}: the image processor's settings have size {size} and do_resize {resizes}; wdstream "
                f"knows {self.name} with do_resize on and size.longest_edge up to {MAX_LONGEST_EDGE}"
            )
        longest = int(size["longest_edge"])
        most = -(-longest // side) + 1  # one more: the shorter side is rounded up to an even number
        names = [[tile_name(row, column) for column in range(most)] for row in range(most)]
        return NamedSquares(
            is_on=bool(settings.get("do_image_splitting", True)),
            side=side,
            resample=resample,
            longest_edge=longest,
            squares=[[self._square(name) for name in row] for row in names],
            newlines=(self.encoder.encode("\n"), self.encoder.encode("\n\n")),
            block=block,
        )


class OneRowOfSquares(Squares):
    """All squares of a batch as those of one sample; without a pixel mask every pixel of a square counts."""

    def inputs(self, batch: BatchMapping, *, device: "torch.device | str", dtype: "torch.dtype") -> Inputs:
        """The normalised squares, (1, N, 3, S, S)."""
        inputs = super().inputs(batch, device=device, dtype=dtype)
        return {"pixel_values": inputs["pixel_values"].unsqueeze(0)}


@dataclass(frozen=True, kw_only=True)
class NamedSquares:
    """The `Splitting` of Idefics3.

    Attributes:
        is_on: whether the processor splits.
        side: S, pixels of a square.
        resample: filter of the resizes.
        longest_edge: pixels; the longer side of an image before it is split.
        squares: ids of the square of each row and column: mark, name, placeholders.
        newlines: ids after a row of squares, and after the last one.
        block: ids of the overview.
    """

    is_on: bool
    side: int
    resample: str
    longest_edge: int
    squares: Sequence[Sequence[list[int]]]
    newlines: tuple[list[int], list[int]]
    block: Ints

    @cached_property
    def summed(self) -> Ints:
        """How many ids the squares of a grid are, at [rows, columns]; int64."""
        lengths = np.array([[len(square) for square in row] for row in self.squares])
        return np.cumsum(np.cumsum(np.pad(lengths, ((1, 0), (1, 0))), axis=0), axis=1)

    def rules(self) -> Mapping[str, object]:
        """The longer side, and the lengths of newlines and of names."""
        newlines = [len(ids) for ids in self.newlines]
        return {"longest_edge": self.longest_edge, "newlines": newlines, "names": self.summed.tolist()}

    def grids(self, widths: Ints, heights: Ints) -> tuple[Ints, Ints]:
        """The first resize, both sides up to whole squares."""
        wide, high = self.first_resize(widths, heights)
        is_wide, aspect = wide >= high, wide / high
        # The longer side goes to whole squares first; the shorter one follows it before it is rounded up itself.
        longer = -(-self.longest_edge // self.side)
        follows = np.where(is_wide, longer * self.side / aspect, longer * self.side * aspect).astype(np.int64)
        shorter = -(-follows // self.side)
        return np.where(is_wide, longer, shorter), np.where(is_wide, shorter, longer)

    def first_resize(self, widths: Ints, heights: Ints) -> tuple[Ints, Ints]:
        """The longer side becomes `longest_edge`, the shorter one follows, rounded down and then up to an even number.

        float64 operations are those of `_resize_output_size_rescale_to_max_len`, one by one.
        """
        longest = self.longest_edge
        aspect = widths / heights
        is_wide = widths >= heights
        short = np.where(is_wide, longest / aspect, longest * aspect).astype(np.int64)
        short = np.maximum(short + short % 2, 1)
        return np.where(is_wide, longest, short), np.where(is_wide, short, longest)

    def count_squares(self, columns: Ints, rows: Ints) -> Ints:
        """Those of the grid, and the overview unless it is the only one."""
        return with_overview(columns, rows)

    def count_tokens(self, widths: Ints, heights: Ints, columns: Ints, rows: Ints) -> Ints:
        """Names and placeholders of all squares, a newline a row, and the block of the overview."""
        one, two = (len(ids) for ids in self.newlines)
        split = self.summed[rows, columns] + (rows - 1) * one + two
        return np.where(columns * rows > 1, split, 0) + len(self.block)

    def ids(self, size: Size, grid: Grid) -> Ints:
        """The squares row by row, and the overview."""
        columns, rows = grid
        if columns * rows == 1:
            return self.block
        ids: list[int] = []
        for row in range(rows):
            for square in self.squares[row][:columns]:
                ids.extend(square)
            ids.extend(self.newlines[row + 1 == rows])
        return np.concatenate([np.array(ids, dtype=np.int64), self.block])

    def views(self, image: Pixels, grid: Grid) -> Iterator[Pixels]:
        """The squares of the resized image, then that image in one square."""
        from wdstream.pixels.render import resize

        wide, high = self.first_resize(np.array([image.shape[1]]), np.array([image.shape[0]]))
        whole = stretched(resize(image, (int(wide[0]), int(high[0])), self.resample), grid, self.side, self.resample)
        if grid != (1, 1):
            yield from cut(whole, self.side)
        yield stretched(whole, (1, 1), self.side, self.resample)


def own_name(label: str) -> str:
    """The family's name of a tile for wdstream's: <row0_col1> is <row_1_col_2>, <global_img> is <global-img>."""
    match = LABEL.fullmatch(label)
    return _WHOLE if match is None else tile_name(int(match[1]), int(match[2]))


def tile_name(row: int, column: int) -> str:
    """The token before a square; rows and columns from 0."""
    return f"<row_{row + 1}_col_{column + 1}>"
