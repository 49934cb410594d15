"""Aya Vision: squares of one size, each after its own name, between a start and an end token.

    <|START_OF_IMG|> TILE_GLOBAL <|IMG_PATCH|> x 169 <|END_OF_IMG|>
    <|START_OF_IMG|> TILE_1 <|IMG_PATCH|> x 169 ... TILE_n <|IMG_PATCH|> x 169 TILE_GLOBAL ... <|END_OF_IMG|>

A tile of wdstream is one square, the whole of its image (first line). An image left whole is cut by its aspect ratio
(families/shared/aspect_grid.py), and the squares get the numbers that the processor gives them (second line).
"""

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from wdstream.families.shared.aspect_grid import AspectGrid
from wdstream.families.shared.model_folder import ModelFolder
from wdstream.families.shared.split import Grid
from wdstream.records import Ints, Size


class AyaVision(AspectGrid):
    """Aya Vision (`AyaVisionForConditionalGeneration`)."""

    name: ClassVar[str] = "aya_vision"
    structural_tokens: ClassVar[tuple[str, ...]] = (
        *("<image>", "<|START_OF_IMG|>", "<|IMG_PATCH|>", "<|IMG_LINE_BREAK|>", "<|END_OF_IMG|>", "TILE_GLOBAL"),
        *(f"TILE_{number}" for number in range(1, 13)),
        *("<BOS_TOKEN>", "<|START_OF_TURN_TOKEN|>", "<|END_OF_TURN_TOKEN|>", "<|USER_TOKEN|>", "<|CHATBOT_TOKEN|>"),
    )
    processor_class: ClassVar[str] = "AyaVisionProcessor"
    image_prompt: ClassVar[str] = "<image>"
    placeholder: ClassVar[str] = "<|IMG_PATCH|>"
    placeholder_key: ClassVar[str] = "image_token_index"
    default_side: ClassVar[int] = 384
    vision_defaults: ClassVar[Mapping[str, Any]] = {
        "hidden_size": 1152,
        "intermediate_size": 4304,
        "num_hidden_layers": 26,
        "image_size": 384,
        "patch_size": 14,
    }
    text_defaults: ClassVar[Mapping[str, Any]] = {
        "vocab_size": 256000,
        "hidden_size": 8192,
        "intermediate_size": 22528,
        "num_hidden_layers": 40,
        "num_attention_heads": 64,
    }

    def __init__(self, folder: ModelFolder) -> None:
        super().__init__(folder)
        self._names = [self.require_token(f"TILE_{number}") for number in range(1, self.max_squares + 1)]

    def count_placeholders(self, folder: ModelFolder) -> int:
        """Patches, shuffled together by `downsample_factor` along each side."""
        self._downsample = int(folder.config.get("downsample_factor", 2))
        return self.patches_per_image // self._downsample**2

    def crops(self, settings: Mapping[str, Any]) -> bool:
        """Always: the processor asks for crops whatever preprocessor_config.json says (its `images_kwargs`)."""
        return True

    def processor_settings(self) -> Mapping[str, Any]:
        """The processor has to be told the sizes from which it counts placeholders."""
        return {"patch_size": self.patch_size, "img_size": self.side, "downsample_factor": self._downsample}

    def image_block(self) -> Ints:
        """Start, name, placeholders, end."""
        start, name, end = (self.require_token(t) for t in ("<|START_OF_IMG|>", "TILE_GLOBAL", "<|END_OF_IMG|>"))
        return np.array([start, name, *[self.image_id] * self.tokens_per_image, end], dtype=np.int64)

    def split_tokens(self, widths: Ints, heights: Ints, columns: Ints, rows: Ints) -> Ints:
        """Names and placeholders of all squares, start and end."""
        return self.count_squares(columns, rows) * (self.tokens_per_image + 1) + 2

    def split_ids(self, size: Size, grid: Grid) -> Ints:
        """Numbered squares row by row, then the block of the whole image without its start."""
        numbered = 0 if grid == (1, 1) else grid[0] * grid[1]
        squares = np.full((numbered, self.tokens_per_image + 1), self.image_id, dtype=np.int64)
        squares[:, 0] = self._names[:numbered]
        return np.concatenate([self._block[:1], squares.ravel(), self._block[1:]])
