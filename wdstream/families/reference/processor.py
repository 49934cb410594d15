"""The model's own Hugging Face processor, as the reference that families are compared with.

`AutoProcessor` is not used: a processor with a video part needs torchvision to load, and nothing here reads video. The
processor's class is built from the model's tokenizer and image processor, its video part left out.
"""

import importlib
import sys
from dataclasses import replace
from typing import Any

import numpy as np

from wdstream.families.base import Family
from wdstream.records import ImageSegment, LabelledPage, TextSegment

_MODELS_WITH_TORCHVISION = ("pixtral",)
UNREAD_PARTS = ("video_processor", "feature_extractor")


def load_processor(family: Family) -> Any:
    """The processor of the family's model, its own splitting of images off unless the family `is_splitting`."""
    import transformers

    rules = family.processor_rules()
    image_processor = transformers.AutoImageProcessor.from_pretrained(family.model_dir, trust_remote_code=False)
    for key, value in ({} if family.is_splitting else rules.untiled_settings).items():
        setattr(image_processor, key, value)
    tokenizer = transformers.AutoTokenizer.from_pretrained(family.model_dir, trust_remote_code=False)
    cls = _without_video(_processor_class(family.processor_class))
    processor = cls(image_processor=image_processor, tokenizer=tokenizer, **rules.settings)
    for key, value in rules.attributes.items():
        setattr(processor, key, value)
    return processor


def processor_ids(processor: Any, family: Family, page: LabelledPage) -> list[int]:
    """Ids the processor makes of a page's text with its placeholders and of its tiles, EOS not included.

    Where the processor treats a lone image differently (`least_images`), a copy of it is put after the text, and its
    block is cut off again.
    """
    tiles, rules = page.tiles, family.processor_rules()
    missing = max(0, rules.least_images - len(tiles)) if tiles else 0
    extra = tuple(ImageSegment(index=len(tiles) + number) for number in range(missing))
    longer = (
        replace(page, tiles=(*tiles, *[tiles[-1]] * missing), segments=(*page.segments, *extra)) if missing else page
    )
    ids = [int(number) for number in run_processor(processor, family, longer)["input_ids"][0]]
    added = sum(len(family.image_ids(tile.shape[1], tile.shape[0])) for tile in longer.tiles[len(tiles) :])
    return ids[: len(ids) - added - rules.ends]


def comparable(page: LabelledPage, family: Family) -> LabelledPage:
    """The page as both sides read it alike: without newlines next to images for a family that `melts_newlines`."""
    rules = family.processor_rules()
    page = page if rules.comparable is None else rules.comparable(page)
    if not rules.melts_newlines:
        return page
    segments = tuple(
        replace(part, text=part.text.strip("\n")) if isinstance(part, TextSegment) else part for part in page.segments
    )
    return replace(page, segments=segments)


def run_processor(processor: Any, family: Family, page: LabelledPage, **settings: Any) -> Any:
    """The processor's output for a page: the text as one string, an image where the page has a tile."""
    from PIL import Image

    rules = family.processor_rules()
    texts = rules.texts_of(page, family.image_prompt)
    images = [Image.fromarray(np.ascontiguousarray(tile)) for tile in page.tiles]
    if not images:
        return processor.tokenizer(**texts, **settings)
    return processor(**texts, images=rules.images_of(images), **settings)


def _processor_class(name: str) -> Any:
    """A processor's class of transformers.

    Some modules import one function of the model's torchvision image processor, and cannot be imported without
    torchvision. The module is then run with the Pillow image processor in that place, which has the same function.
    """
    import transformers

    found = getattr(transformers, name)
    if not hasattr(found, "is_dummy"):
        return found
    folder = next(path for path in _MODELS_WITH_TORCHVISION if name.lower().startswith(path))
    package = f"transformers.models.{folder}"
    imported = f"{package}.image_processing_{folder}"
    sys.modules[imported] = importlib.import_module(f"{package}.image_processing_pil_{folder}")
    try:
        return getattr(importlib.import_module(f"{package}.processing_{folder}"), name)
    finally:
        del sys.modules[imported]


def _without_video(cls: type) -> Any:
    """A processor class that neither wants nor makes parts for video and sound; nothing else is changed."""
    from transformers import ProcessorMixin

    attributes = [name for name in cls.get_attributes() if name not in UNREAD_PARTS]  # type: ignore[attr-defined]

    class ImageAndText(ProcessorMixin):  # type: ignore[misc]
        """After `cls` in the order of methods: drops the parts that a class hands on by name."""

        def __init__(self, *parts: Any, **named: Any) -> None:
            super().__init__(*parts, **{name: part for name, part in named.items() if name not in UNREAD_PARTS})

    members = {"get_attributes": classmethod(lambda _: list(attributes)), "__init__": cls.__init__}  # type: ignore[misc]
    return type(cls.__name__, (cls, ImageAndText), members)
