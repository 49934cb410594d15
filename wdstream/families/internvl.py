"""InternVL (the Hugging Face form): squares of one size between a start and an end token.

    <img> <IMG_CONTEXT> x n </img>          n features for each square of the image

A tile is one square. An image that wdstream leaves whole is split by its aspect ratio (`AspectGrid`).
"""

from dataclasses import replace
from typing import ClassVar

from wdstream.families.base import Family
from wdstream.families.shared.images import MarkedBlock, ProcessorSettings
from wdstream.families.shared.model_folder import ModelFolder, language_shape, tower_defaults, tower_shape
from wdstream.families.shared.processor_rules import ProcessorRules
from wdstream.families.shared.squares import AspectGrid, Squares, SquareTower, cost_by_square, square_side
from wdstream.plan.deal import training_flops

_VISION = tower_defaults(width=1024, mlp=4096, layers=24, image_size=448, patch_size=14)
"""What config.json may leave to the defaults of its transformers class."""


class InternVL(Family):
    """InternVL 2.5, 3 and 3.5 (`InternVLForConditionalGeneration`)."""

    structural_tokens: ClassVar[tuple[str, ...]] = (
        *("<img>", "</img>", "<IMG_CONTEXT>", "<video>"),
        *("<|im_start|>", "<|im_end|>", "<|endoftext|>"),
    )
    image_prompt: ClassVar[str] = "<IMG_CONTEXT>"
    processor_class = "InternVLProcessor"

    def __init__(self, folder: ModelFolder, name: str) -> None:
        super().__init__(folder, name)
        self.image_id = self.require_token("<IMG_CONTEXT>", folder.config.get("image_token_id"))
        start, end = self.require_token("<img>"), self.require_token("</img>")
        block = MarkedBlock(before=(start,), image_id=self.image_id, after=(end,))
        tower = SquareTower.read(folder, _VISION, side=square_side(folder.image_settings, 384))
        # Patches are shuffled together by this factor along each side.
        self.tokens_per_square = int(tower.num_patches * folder.config.get("downsample_ratio", 0.5) ** 2)
        pixels = ProcessorSettings.read(folder)
        self.splitting = AspectGrid.read(
            folder,
            side=tower.side,
            resample=pixels.resample,
            block=block,
            tokens_per_square=self.tokens_per_square,
            crops=True,  # the processor asks for crops whatever preprocessor_config.json says (its `images_kwargs`)
        )
        self.images = Squares(tower, block.ids(self.tokens_per_square), pixels, self.splitting)
        cost = training_flops(**language_shape(folder), **tower_shape(tower.vision))
        self.cost = cost_by_square(cost, tower.num_patches)

    def processor_rules(self) -> ProcessorRules:
        """The processor needs the number of placeholders of an image."""
        rules = self.splitting.processor_rules(is_splitting=self.is_splitting)
        return replace(rules, settings={"image_seq_length": self.tokens_per_square})
