"""LLaVA-OneVision: a tile is one square, as the model takes each of several images; a whole image is cut "anyres".

    a tile         <image> x (g * g + 1)                                g x g patches, and the supervised newline
    a whole image  <image> x (g * g + columns * rows + rows)            one square of all, then the features of the grid

A tile is padded to a square in the mean colour and resized. The model cuts an image that is alone in its sample and
leaves those of a sample with several whole; wdstream decides by the tiling policy instead (`for_whole_images`), because
the length of an image must not depend on what else its page holds.

A whole image is resized to fit the best of `image_grid_pinpoints` and padded in black on both sides. The model drops
the features of the padding again, ends each row of features with the newline, and shrinks what is more than
`anyres_max_N` squares of them. The arithmetic is in families/shared/anyres.py.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from wdstream.errors import FamilyError
from wdstream.families.shared.anyres import best_grids, fitted_size, kept_features
from wdstream.families.shared.inputs import CLIP_MEAN, CLIP_STD
from wdstream.families.shared.model_folder import ModelFolder
from wdstream.families.shared.split import Grid, SplitSquares
from wdstream.records import Ints, Pixels, Size

if TYPE_CHECKING:
    import torch

DEFAULT_SIDES = range(384, 2305, 384)


class LlavaOnevision(SplitSquares):
    """LLaVA-OneVision (`LlavaOnevisionForConditionalGeneration`).

    Attributes:
        pinpoints: (columns, rows) of squares that a whole image may be cut into, in the processor's order.
        max_squares: N of `anyres_max_N`.
    """

    name: ClassVar[str] = "llava_onevision"
    structural_tokens: ClassVar[tuple[str, ...]] = (
        *("<image>", "<video>"),
        *("<|im_start|>", "<|im_end|>", "<|endoftext|>"),
    )
    processor_class: ClassVar[str] = "LlavaOnevisionProcessor"
    image_prompt: ClassVar[str] = "<image>"
    placeholder: ClassVar[str] = "<image>"
    placeholder_key: ClassVar[str] = "image_token_index"
    default_side: ClassVar[int] = 384
    vision_defaults: ClassVar[Mapping[str, Any]] = {
        "hidden_size": 1152,
        "intermediate_size": 4304,
        "num_hidden_layers": 26,
        "image_size": 384,
        "patch_size": 14,
    }
    default_mean: ClassVar[tuple[float, ...]] = CLIP_MEAN
    default_std: ClassVar[tuple[float, ...]] = CLIP_STD
    least_images = 2  # the processor cuts an image that is alone

    def for_whole_images(self) -> Self:
        """Each image alone in its sample, cut by the processor's rules."""
        whole = super().for_whole_images()
        whole.least_images = 1
        return whole

    def count_placeholders(self, folder: ModelFolder) -> int:
        """Patches and the newline.

        Raises:
            FamilyError: the model drops the first feature of each square, which leaves no grid.
        """
        strategy = folder.config.get("vision_feature_select_strategy", "full")
        if strategy != "full":
            raise FamilyError(
                f"{self.model_dir}: config.json has vision_feature_select_strategy '{strategy}', wdstream knows "
                f"{self.name} with 'full'; use another checkpoint of the family"
            )
        return self.patches_per_image + 1

    def processor_settings(self) -> Mapping[str, Any]:
        """The processor has to be told how many features the tower gives, and how many of the grid are kept."""
        return {
            "num_image_tokens": self.patches_per_image,
            "vision_feature_select_strategy": "full",
            "vision_aspect_ratio": f"anyres_max_{self.max_squares}",
        }

    def processor_images(self, images: Sequence[Any]) -> Sequence[Any]:
        """A flat list is of images that are each alone in their sample, a nested one of images of one sample."""
        return list(images) if self.is_splitting else [list(images)]

    def image_block(self) -> Ints:
        """Placeholders alone."""
        return np.full(self.tokens_per_image, self.image_id, dtype=np.int64)

    def read_splitting(self, folder: ModelFolder) -> bool:
        """The grids and the limit of features.

        Raises:
            FamilyError: image processor and model cut in different ways, or not into squares of the tower's size.
        """
        default = [[high, wide] for high in DEFAULT_SIDES for wide in DEFAULT_SIDES]
        resolutions = folder.image_settings.get("image_grid_pinpoints") or default
        if resolutions != (folder.config.get("image_grid_pinpoints") or default):
            raise FamilyError(
                f"{self.model_dir}: image_grid_pinpoints differ between config.json and the image processor's "
                "settings; take the preprocessor_config.json that belongs to the checkpoint"
            )
        if any(side % self.side for resolution in resolutions for side in resolution):
            raise FamilyError(
                f"{self.model_dir}: image_grid_pinpoints {resolutions} are not all multiples of {self.side}, the side "
                "of a square; take the settings of one checkpoint"
            )
        self.pinpoints = [(wide // self.side, high // self.side) for high, wide in resolutions]
        self.max_squares = int(str(folder.config.get("vision_aspect_ratio", "anyres_max_9")).rpartition("_")[2])
        return True

    def splitting_rules(self) -> Mapping[str, Any]:
        """Grids and limit."""
        return {"pinpoints": self.pinpoints, "max": self.max_squares}

    def count_squares(self, columns: Ints, rows: Ints) -> Ints:
        """The grid's, and one of the whole image before them, also for a grid of 1 x 1."""
        return columns * rows + 1

    def split_grids(self, widths: Ints, heights: Ints) -> tuple[Ints, Ints]:
        """The grid that keeps most pixels of an image, and of those the one that wastes least; earlier ones first."""
        return best_grids(widths, heights, self.pinpoints, self.side)

    def split_tokens(self, widths: Ints, heights: Ints, columns: Ints, rows: Ints) -> Ints:
        """Features of the base square, of the grid without its padding, and a newline for each row of these."""
        across = self.side // self.patch_size
        wide, high = kept_features(widths, heights, columns * across, rows * across, self.max_squares * across**2)
        return self.patches_per_image + high * wide + high

    def split_ids(self, size: Size, grid: Grid) -> Ints:
        """Placeholders alone."""
        sizes = np.array([size], dtype=np.int64)
        grids = np.array([grid], dtype=np.int64)
        count = self.split_tokens(sizes[:, 0], sizes[:, 1], grids[:, 0], grids[:, 1])
        return np.full(int(count[0]), self.image_id, dtype=np.int64)

    def split_views(self, image: Pixels, grid: Grid) -> Iterator[Pixels]:
        """The whole image in one square, then the squares of the image fitted on the grid, padded in black."""
        from wdstream.pixels.render import resize

        yield self.stretched(image, (1, 1))
        wide, high = grid[0] * self.side, grid[1] * self.side
        size = fitted_size((image.shape[1], image.shape[0]), (wide, high))
        canvas = np.zeros((high, wide, 3), dtype=np.uint8)
        left, top = (wide - size[0]) // 2, (high - size[1]) // 2
        canvas[top : top + size[1], left : left + size[0]] = resize(image, size, self.resample)
        yield from self.cut(canvas)

    def layout(self, tiles: Sequence[Pixels]) -> dict[str, NDArray[Any]]:
        """pixel_values uint8 (N, 3, S, S); for whole images also image_sizes int64 (K, 2), (height, width)."""
        arrays = super().layout(tiles)
        if self.is_splitting:
            arrays["image_sizes"] = np.array([tile.shape[:2] for tile in tiles], dtype=np.int64).reshape(-1, 2)
        return arrays

    def fitted(self, tile: Pixels) -> Pixels:
        """Padded to a square in the mean colour, tile in the middle, and resized; uint8 (S, S, 3)."""
        height, width = tile.shape[:2]
        if height != width:
            long = max(height, width)
            square = np.empty((long, long, 3), dtype=np.uint8)
            square[:] = [int(value * 255) for value in self.mean]
            top, left = (long - height) // 2, (long - width) // 2
            square[top : top + height, left : left + width] = tile
            tile = square
        return super().fitted(tile)

    def model_inputs(
        self, batch: Mapping[str, Any], *, device: "torch.device | str", dtype: "torch.dtype"
    ) -> dict[str, Any]:
        """Keyword arguments of `model.forward`; whole images go in as each alone in its sample."""
        inputs = super().model_inputs(batch, device=device, dtype=dtype)
        if self.is_splitting and "pixel_values" in inputs:
            del inputs["batch_num_images"]
            inputs["image_sizes"] = batch["image_sizes"].to(device, non_blocking=True)
        return inputs

    def pixel_inputs(self, pixels: "torch.Tensor") -> dict[str, Any]:
        """All tiles as those of one sample with at least two, which the model leaves whole."""
        import torch

        count = len(pixels)
        return {
            "pixel_values": pixels,
            "image_sizes": torch.full((count, 2), self.side, dtype=torch.long, device=pixels.device),
            "batch_num_images": torch.tensor([max(count, self.least_images)]),
        }
