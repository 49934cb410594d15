"""The Hugging Face side of the comparisons: real processors of a checkpoint, where torchvision is not needed."""

from pathlib import Path
from typing import Any

from transformers import AutoImageProcessor, AutoTokenizer, Qwen2_5_VLProcessor, Qwen2VLProcessor, Qwen3VLProcessor

PROCESSORS = {"qwen2_vl": Qwen2VLProcessor, "qwen2_5_vl": Qwen2_5_VLProcessor, "qwen3_vl": Qwen3VLProcessor}


def without_video(cls: type) -> Any:
    """The processor class without its video processor, which needs torchvision; nothing else is changed."""
    attributes = [name for name in cls.get_attributes() if name != "video_processor"]
    return type(
        cls.__name__, (cls,), {"get_attributes": classmethod(lambda _: list(attributes)), "__init__": cls.__init__}
    )


def load_processor(family: str, path: Path) -> Any:
    return without_video(PROCESSORS[family])(
        image_processor=AutoImageProcessor.from_pretrained(path), tokenizer=AutoTokenizer.from_pretrained(path)
    )
