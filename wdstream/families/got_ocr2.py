"""GOT-OCR2: one large square per image, 16 times fewer features than patches.

    <img> <imgpad> x 256 </img>          256 features for each square of the image

A tile is one square, and so is an image that wdstream leaves whole, unless preprocessor_config.json has crop_to_patches
on: then it is split by its aspect ratio (`AspectGrid`). (The processor itself reads that setting from its call alone.)
Its SAM tower knows eager attention only; the language model takes sdpa too, so the implementations are set apart.
"""

from dataclasses import replace
from typing import Any, ClassVar

from wdstream.families.base import Family
from wdstream.families.shared.images import MarkedBlock, ProcessorSettings
from wdstream.families.shared.model_folder import Json, ModelFolder, language_shape, text_defaults, tower_shape
from wdstream.families.shared.processor_rules import ProcessorRules
from wdstream.families.shared.squares import AspectGrid, Squares, SquareTower, cost_by_square, square_side
from wdstream.plan.deal import training_flops

FEATURE_STRIDE = 4
"""Patches along a side that two strided convolutions make one feature of."""
_VISION = {
    "hidden_size": 768,
    "mlp_dim": 3072,
    "num_hidden_layers": 12,
    "image_size": 1024,
    "patch_size": 16,
}
_TEXT = text_defaults(vocab_size=151860, width=1024, mlp=2816, layers=24, heads=16, key_heads=16)
"""What config.json may leave to the defaults of the transformers classes."""


class GotOcr2(Family):
    """The family of GOT-OCR2: `GotOcr2ForConditionalGeneration` of transformers."""

    structural_tokens: ClassVar[tuple[str, ...]] = (
        *("<img>", "</img>", "<imgpad>"),
        *("<|im_start|>", "<|im_end|>", "<|endoftext|>"),
    )
    image_prompt: ClassVar[str] = "<img><imgpad></img>"
    processor_class = "GotOcr2Processor"
    attention = ("sdpa", "eager", "flex_attention", "flash_attention_2")

    def __init__(self, folder: ModelFolder, name: str) -> None:
        super().__init__(folder, name)
        self.image_id = self.require_token("<imgpad>", folder.config.get("image_token_index"))
        start, end = self.require_token("<img>"), self.require_token("</img>")
        block = MarkedBlock(before=(start,), image_id=self.image_id, after=(end,))
        tower = SquareTower.read(folder, _VISION, side=square_side(folder.image_settings, 384))
        self.tokens_per_square = tower.num_patches // FEATURE_STRIDE**2
        pixels = ProcessorSettings.read(folder)
        self.splitting = AspectGrid.read(
            folder,
            side=tower.side,
            resample=pixels.resample,
            block=block,
            tokens_per_square=self.tokens_per_square,
            crops=bool(folder.image_settings.get("crop_to_patches")),
        )
        self.images = Squares(tower, block.ids(self.tokens_per_square), pixels, self.splitting)
        vision = {"intermediate_size": tower.vision["mlp_dim"], **tower.vision}
        cost = training_flops(**language_shape(folder, _TEXT), **tower_shape(vision))
        self.cost = cost_by_square(cost, tower.num_patches)

    def attention_setting(self, name: str) -> str | dict[str, str]:
        """The language model's implementation; the tower has eager only."""
        return {"": "eager", "text_config": name, "vision_config": "eager"}

    def processor_rules(self) -> ProcessorRules:
        """The processor counts 256 placeholders unless it is set; nested images mean pages of one reading to it."""
        rules = self.splitting.processor_rules(is_splitting=self.is_splitting)
        attributes = {**rules.attributes, "num_image_tokens": self.tokens_per_square}
        return replace(rules, attributes=attributes, nests_images=False)

    def narrowed_vision(self, vision: Json, text: Json) -> dict[str, Any]:
        """Two layers, attention in windows alone: over 4,096 patches it would take a minute an image."""
        return {**super().narrowed_vision(vision, text), "global_attn_indexes": []}
