"""Idefics3: squares of one size, each between marks and after its name; whole images split into a grid and an overview.

    a tile   <fake_token_around_image> <global-img> <image> x n <fake_token_around_image>

             with `labels: family`: <row_1_col_2> instead of <global-img>, but for the overview

    split    <fake..> <row_1_col_1> <image> x n  <fake..> <row_1_col_2> <image> x n ... newline      each row of squares
             newline <fake..> <global-img> <image> x n <fake..>                                      the whole image

The two newlines before the overview are one piece of text. An image to split is resized three times, as the processor
does: its longer side to `size`, both sides up to whole squares, and the result once more to one square, the overview.

The processor makes its first resize for images it does not split as well: up to `size` and down again to a square. A
tile is resized once instead, and a tile of a square's size not at all (`do_resize` off; tests say how far that is from
the processor's default). The model wants all squares of a batch as one row of images (1, N, 3, S, S).

SmolVLM and SmolVLM2: the blocks and the tower of Idefics3, larger canvases, more patches a feature.
"""

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from wdstream.errors import FamilyError
from wdstream.families.shared.model_folder import ModelFolder
from wdstream.families.shared.split import Grid, SplitSquares
from wdstream.records import Ints, Pixels, Size

if TYPE_CHECKING:
    import torch


DEFAULT_SIDE = 364
MAX_LONGEST_EDGE = 4096
"""The processor never resizes to more (`MAX_IMAGE_SIZE` of its module)."""
LABEL = re.compile(r"<row(\d+)_col(\d+)>")
MARK, WHOLE, IMAGE = "<fake_token_around_image>", "<global-img>", "<image>"


class Idefics3(SplitSquares):
    """Idefics3 (`Idefics3ForConditionalGeneration`).

    Attributes:
        longest_edge: pixels; the longer side of an image before it is split.
    """

    name: ClassVar[str] = "idefics3"
    structural_tokens: ClassVar[tuple[str, ...]] = (
        *(MARK, IMAGE, WHOLE, "<end_of_utterance>"),
        *(f"<row_{row}_col_{column}>" for row in range(1, 7) for column in range(1, 7)),
    )
    processor_class: ClassVar[str] = "Idefics3Processor"
    image_prompt: ClassVar[str] = IMAGE
    placeholder: ClassVar[str] = IMAGE
    placeholder_key: ClassVar[str] = "image_token_id"
    untiled_settings: ClassVar[Mapping[str, Any]] = {"do_image_splitting": False, "do_resize": False}
    default_resample: ClassVar[int] = 1
    vision_defaults: ClassVar[Mapping[str, Any]] = {
        "hidden_size": 1152,
        "intermediate_size": 3072,
        "num_hidden_layers": 12,
        "image_size": 224,
        "patch_size": 32,
    }

    def canvas_side(self, folder: ModelFolder) -> int:
        """`max_image_size`: the size of one square; `size` is that of a page before it is split."""
        return int((folder.image_settings.get("max_image_size") or {}).get("longest_edge", DEFAULT_SIDE))

    def count_placeholders(self, folder: ModelFolder) -> int:
        """Patches, `scale_factor`**2 of which are shuffled into one feature."""
        return self.patches_per_image // int(folder.config.get("scale_factor", 2)) ** 2

    def processor_settings(self) -> Mapping[str, Any]:
        """The processor has to be told how many placeholders an image has."""
        return {"image_seq_len": self.tokens_per_image}

    def image_block(self) -> Ints:
        """Mark, name, placeholders, mark."""
        return np.array([*self._square(WHOLE), self.require_token(MARK)], dtype=np.int64)

    def labelled_ids(self, size: Size, label: str) -> Ints:
        """The block with the tile's own name in it; beyond the 6 x 6 names that there are, the name of an overview."""
        ids = self.image_ids(*size)
        found = self.encoder.find_id(own_name(label))
        return ids if found is None else np.where(np.arange(len(ids)) == 1, found, ids)

    def read_splitting(self, folder: ModelFolder) -> bool:
        """The longer side before splitting, and the lengths of all names of squares.

        Raises:
            FamilyError: the settings do not give the longer side.
        """
        settings = folder.image_settings
        size = settings.get("size") or {"longest_edge": 4 * DEFAULT_SIDE}
        resizes = settings.get("do_resize", True)
        if not 1 <= size.get("longest_edge", 0) <= MAX_LONGEST_EDGE or resizes is not True:
            raise FamilyError(
                f"{self.model_dir}: the image processor's settings have size {size} and do_resize {resizes}; wdstream "
                f"knows {self.name} with do_resize on and size.longest_edge up to {MAX_LONGEST_EDGE}"
            )
        self.longest_edge = int(size["longest_edge"])
        self.has_own_labels = None not in (self.encoder.find_id(WHOLE), self.encoder.find_id(tile_name(0, 0)))
        most = -(-self.longest_edge // self.side) + 1  # one more: the shorter side is rounded up to an even number
        lengths = [[len(self._square(tile_name(row, column))) for column in range(most)] for row in range(most)]
        self._summed = np.cumsum(np.cumsum(np.pad(np.array(lengths), ((1, 0), (1, 0))), axis=0), axis=1)
        return bool(settings.get("do_image_splitting", True))

    def splitting_rules(self) -> Mapping[str, Any]:
        """The longer side, and the lengths of newlines and of names."""
        newlines = [len(self.encoder.encode(text)) for text in ("\n", "\n\n")]
        return {"longest_edge": self.longest_edge, "newlines": newlines, "names": self._summed.tolist()}

    def split_grids(self, widths: Ints, heights: Ints) -> tuple[Ints, Ints]:
        """The first resize, both sides up to whole squares."""
        wide, high = self._first_resize(widths, heights)
        is_wide, aspect = wide >= high, wide / high
        # The longer side goes to whole squares first; the shorter one follows it before it is rounded up itself.
        longer = -(-self.longest_edge // self.side)
        follows = np.where(is_wide, longer * self.side / aspect, longer * self.side * aspect).astype(np.int64)
        shorter = -(-follows // self.side)
        return np.where(is_wide, longer, shorter), np.where(is_wide, shorter, longer)

    def _first_resize(self, widths: Ints, heights: Ints) -> tuple[Ints, Ints]:
        """The longer side becomes `longest_edge`, the shorter one follows, rounded down and then up to an even number.

        float64 operations are those of `_resize_output_size_rescale_to_max_len`, one by one.
        """
        longest = self.longest_edge
        aspect = widths / heights
        is_wide = widths >= heights
        short = np.where(is_wide, longest / aspect, longest * aspect).astype(np.int64)
        short = np.maximum(short + short % 2, 1)
        return np.where(is_wide, longest, short), np.where(is_wide, short, longest)

    def split_tokens(self, widths: Ints, heights: Ints, columns: Ints, rows: Ints) -> Ints:
        """Names and placeholders of all squares, a newline a row, and the block of the overview."""
        one, two = (len(self.encoder.encode(text)) for text in ("\n", "\n\n"))
        split = self._summed[rows, columns] + (rows - 1) * one + two
        return np.where(columns * rows > 1, split, 0) + len(self._block)

    def split_ids(self, size: Size, grid: Grid) -> Ints:
        """The squares row by row, and the overview."""
        columns, rows = grid
        if columns * rows == 1:
            return self._block
        ids: list[int] = []
        for row in range(rows):
            for column in range(columns):
                ids.extend(self._square(tile_name(row, column)))
            ids.extend(self.encoder.encode("\n" if row + 1 < rows else "\n\n"))
        return np.concatenate([np.array(ids, dtype=np.int64), self._block])

    def _square(self, name: str) -> list[int]:
        """Mark, name and placeholders of one square; a name that is no token of its own is text."""
        found = self.encoder.find_id(name)
        named = self.encoder.encode(name) if found is None else [found]
        return [self.require_token(MARK), *named, *[self.image_id] * self.tokens_per_image]

    def split_views(self, image: Pixels, grid: Grid) -> Iterator[Pixels]:
        """The squares of the resized image, then that image in one square."""
        from wdstream.pixels.render import resize

        wide, high = self._first_resize(np.array([image.shape[1]]), np.array([image.shape[0]]))
        whole = self.stretched(resize(image, (int(wide[0]), int(high[0])), self.resample), grid)
        if grid != (1, 1):
            yield from self.cut(whole)
        yield self.fitted(whole)

    def pixel_inputs(self, pixels: "torch.Tensor") -> dict[str, Any]:
        """All squares as those of one sample; without a pixel mask every pixel of a square counts."""
        return {"pixel_values": pixels.unsqueeze(0)}


def own_name(label: str) -> str:
    """The family's name of a tile for wdstream's: <row0_col1> is <row_1_col_2>, <global_img> is <global-img>."""
    place = LABEL.fullmatch(label)
    return WHOLE if place is None else tile_name(int(place[1]), int(place[2]))


def tile_name(row: int, column: int) -> str:
    """The token before a square; rows and columns from 0."""
    return f"<row_{row + 1}_col_{column + 1}>"


class SmolVLM(Idefics3):
    """SmolVLM (`SmolVLMForConditionalGeneration`).

    Its reference is Idefics3's processor: SmolVLM's own makes the same ids of images, but asks for a package that only
    spells out the number of frames of a video.
    """

    name: ClassVar[str] = "smolvlm"
