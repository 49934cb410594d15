"""Which model families there are, and which one a checkpoint belongs to."""

from importlib import import_module
from pathlib import Path
from typing import cast

from wdstream.errors import FamilyError
from wdstream.families.base import Family
from wdstream.families.shared.model_folder import ModelFolder, read_model_folder

FAMILIES = {
    "aya_vision": "wdstream.families.aya_vision:AyaVision",
    "gemma3": "wdstream.families.gemma3:Gemma3",
    "gemma4": "wdstream.families.gemma4:Gemma4",
    "glm4v": "wdstream.families.glm4v:Glm4v",
    "got_ocr2": "wdstream.families.got_ocr2:GotOcr2",
    "idefics3": "wdstream.families.idefics3:Idefics3",
    "internvl": "wdstream.families.internvl:InternVL",
    "lighton_ocr": "wdstream.families.lighton_ocr:LightOnOcr",
    "llava": "wdstream.families.pixtral:Pixtral",
    "llava_onevision": "wdstream.families.llava_onevision:LlavaOnevision",
    "mistral3": "wdstream.families.pixtral:Mistral3",
    "paddleocr_vl": "wdstream.families.paddleocr_vl:PaddleOcrVL",
    "paligemma": "wdstream.families.paligemma:PaliGemma",
    "paligemma2": "wdstream.families.paligemma:PaliGemma2",
    "qwen2_vl": "wdstream.families.qwen_vl:Qwen2VL",
    "qwen2_5_vl": "wdstream.families.qwen_vl:Qwen25VL",
    "qwen3_vl": "wdstream.families.qwen_vl:Qwen3VL",
    "smolvlm": "wdstream.families.idefics3:SmolVLM",
}
"""`model_type` of config.json -> module:class; a module is imported when its family is asked for."""

_CROSS_ATTENTION = "its images enter by cross-attention, which has no mask between packed documents"
REFUSED = {
    "idefics": _CROSS_ATTENTION,
    "mllama": _CROSS_ATTENTION,
    **dict.fromkeys(("florence2", "pix2struct", "vision-encoder-decoder"), _CROSS_ATTENTION),
    "internvl_chat": "its processor and model are code of the checkpoint's own; take the same model's -hf checkpoint",
}
"""Families that cannot be packed correctly, with the reason."""


def load_family(path: str | Path, *, name: str | None = None) -> Family:
    """The family of a local folder, ready to count, encode and lay out; reads no weights.

    Args:
        path: checkpoint directory: config.json, tokenizer.json, tokenizer_config.json, preprocessor_config.json.
        name: family to use instead of the one config.json names.

    Raises:
        FamilyError: no checkpoint there, unknown family, or settings that the family does not support.
    """
    folder = read_model_folder(Path(path))
    refuse_own_processor(folder)
    return family_class(name or folder.model_type, folder).load(folder)


def refuse_own_processor(folder: ModelFolder) -> None:
    """A processor that is code of the checkpoint's own decides lengths and ids by rules that nobody here has seen.

    Checkpoints published before transformers had their model go on naming their own code (`auto_map`). Where the
    installed transformers has a class of the same name, that one is used, here as there.

    Raises:
        FamilyError: a settings file names code that transformers does not have.
    """
    files = {
        "preprocessor_config.json": folder.image_settings,
        "processor_config.json": folder.processor_settings,
    }
    for file, settings in files.items():
        named = dict(settings.get("auto_map") or {})
        lacking = [name for key, name in named.items() if key.endswith("Processor") and not is_native(str(name))]
        if lacking:
            raise FamilyError(
                f"{folder.path}: {file} asks for {lacking[0]}, a processor of the checkpoint's own code (auto_map) "
                "that the installed transformers lacks: its lengths cannot be known before it runs, so no plan can "
                "hold; use the model's version for transformers (its name often ends in -hf)"
            )


def is_native(name: str) -> bool:
    """Whether transformers has the class that `auto_map` names: `[repository--]module.Class`."""
    import transformers  # slow to import: only checkpoints with an auto_map pay for it

    return hasattr(transformers, name.rpartition(".")[2])


def family_class(name: str, folder: ModelFolder) -> type[Family]:
    """The class of family `name`; `checkpoint` is only named in errors.

    Raises:
        FamilyError: the family is unknown, refused, or runs code of its own that wdstream does not know.
    """
    if name in REFUSED:
        raise FamilyError(f"{folder.path}: family '{name}' cannot be packed: {REFUSED[name]}")
    if name not in FAMILIES:
        remote = " (its config.json asks for remote code, whose lengths and masks cannot be proven)"
        raise FamilyError(
            f"{folder.path}: unknown model family '{name}'{remote if 'auto_map' in folder.config else ''}; "
            f"known: {', '.join(sorted(FAMILIES))}"
        )
    module, _, attribute = FAMILIES[name].partition(":")
    return cast(type[Family], getattr(import_module(module), attribute))
