"""Aya Vision: squares of one size, each after its own name, between a start and an end token.

    <|START_OF_IMG|> TILE_GLOBAL <|IMG_PATCH|> x 169 <|END_OF_IMG|>
    <|START_OF_IMG|> TILE_1 <|IMG_PATCH|> x 169 ... TILE_n <|IMG_PATCH|> x 169 TILE_GLOBAL ... <|END_OF_IMG|>

A tile of wdstream is one square, the whole of its image (first line). An image left whole is split by its aspect ratio
(`AspectGrid`), and the squares get the numbers that the processor gives them (second line).
"""

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from wdstream.families.base import Family
from wdstream.families.shared.images import HALF, MarkedBlock, ProcessorSettings
from wdstream.families.shared.model_folder import (
    ModelFolder,
    language_shape,
    text_defaults,
    tower_defaults,
    tower_shape,
)
from wdstream.families.shared.processor_rules import ProcessorRules
from wdstream.families.shared.squares import AspectGrid, Grid, Squares, SquareTower, cost_by_square, square_side
from wdstream.plan.deal import training_flops
from wdstream.records import Ints, Size

_VISION = tower_defaults(width=1152, mlp=4304, layers=26, image_size=384, patch_size=14)
_TEXT = text_defaults(vocab_size=256000, width=8192, mlp=22528, layers=40, heads=64)
"""What config.json may leave to the defaults of the transformers classes."""


@dataclass(frozen=True, kw_only=True)
class NumberedSquares(AspectGrid):
    """Squares of which each has its number before it, the overview its name; `names` are the numbers' ids."""

    names: tuple[int, ...] = ()

    def count_tokens(self, widths: Ints, heights: Ints, columns: Ints, rows: Ints) -> Ints:
        """Names and placeholders of all squares, start and end."""
        return self.count_squares(columns, rows) * (self.tokens_per_square + 1) + 2

    def ids(self, size: Size, grid: Grid) -> Ints:
        """Numbered squares row by row, then the block of the whole image without its start."""
        numbered = 0 if grid == (1, 1) else grid[0] * grid[1]
        squares = np.full((numbered, self.tokens_per_square + 1), self.block.image_id, dtype=np.int64)
        squares[:, 0] = self.names[:numbered]
        block = self.block.ids(self.tokens_per_square)
        return np.concatenate([block[:1], squares.ravel(), block[1:]])


class AyaVision(Family):
    """The family of Aya Vision: `AyaVisionForConditionalGeneration` of transformers."""

    structural_tokens: ClassVar[tuple[str, ...]] = (
        *("<image>", "<|START_OF_IMG|>", "<|IMG_PATCH|>", "<|IMG_LINE_BREAK|>", "<|END_OF_IMG|>", "TILE_GLOBAL"),
        *(f"TILE_{number}" for number in range(1, 13)),
        *("<BOS_TOKEN>", "<|START_OF_TURN_TOKEN|>", "<|END_OF_TURN_TOKEN|>", "<|USER_TOKEN|>", "<|CHATBOT_TOKEN|>"),
    )
    image_prompt: ClassVar[str] = "<image>"
    processor_class = "AyaVisionProcessor"

    def __init__(self, folder: ModelFolder, name: str) -> None:
        super().__init__(folder, name)
        self.image_id = self.require_token("<|IMG_PATCH|>", folder.config.get("image_token_index"))
        start, whole, end = (self.require_token(t) for t in ("<|START_OF_IMG|>", "TILE_GLOBAL", "<|END_OF_IMG|>"))
        block = MarkedBlock(before=(start, whole), image_id=self.image_id, after=(end,))
        tower = SquareTower.read(folder, _VISION, side=square_side(folder.image_settings, 384))
        self.patch_size = tower.patch_size
        self.downsample = int(folder.config.get("downsample_factor", 2))
        tokens = tower.num_patches // self.downsample**2  # patches are shuffled together along each side
        pixels = ProcessorSettings.read(folder, mean=HALF, std=HALF)
        splitting = NumberedSquares.read(
            folder,
            side=tower.side,
            resample=pixels.resample,
            block=block,
            tokens_per_square=tokens,
            crops=True,  # the processor asks for crops whatever preprocessor_config.json says (its `images_kwargs`)
        )
        numbers = range(1, splitting.max_squares + 1)
        self.splitting = replace(splitting, names=tuple(self.require_token(f"TILE_{number}") for number in numbers))
        self.images = Squares(tower, block.ids(tokens), pixels, self.splitting)
        cost = training_flops(**language_shape(folder, _TEXT), **tower_shape(tower.vision))
        self.cost = cost_by_square(cost, tower.num_patches)

    def processor_rules(self) -> ProcessorRules:
        """The processor needs the sizes from which it counts placeholders."""
        sizes = {"patch_size": self.patch_size, "img_size": self.splitting.side, "downsample_factor": self.downsample}
        return replace(self.splitting.processor_rules(is_splitting=self.is_splitting), settings=sizes)
