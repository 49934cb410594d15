"""The parts of a vision-language model, by the names of its modules: the same four in every family."""

import re

from wdstream.config.learning import ModelPart

_EMBEDDINGS = re.compile(r"(^|\.)(embed_tokens|embed_tokens_per_layer|lm_head)(\.|$)")
_LANGUAGE = re.compile(r"(^|\.)(language_model|text_model)(\.|$)")
_PROJECTOR = re.compile(
    r"(^|\.)(multi_modal_projector|projector|connector|vision_projection|embed_vision|embed_audio|merger"
    r"|deepstack_merger_list|downsample|image_newline)(\.|$)"
)


def model_part(name: str) -> ModelPart:
    """The part that a module or a parameter belongs to, by its whole name, which may begin with those of wrappers."""
    if _EMBEDDINGS.search(name):
        return "embeddings"
    if _LANGUAGE.search(name):
        return "language"
    return "projector" if _PROJECTOR.search(name) else "vision"


def is_of_language(name: str) -> bool:
    """Whether a module or parameter belongs to the language model: its layers, its embedding or its output head."""
    return model_part(name) in ("language", "embeddings")
