"""Which model families there are, and which one a model folder belongs to."""

from collections.abc import Sequence
from dataclasses import replace
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

import numpy as np

from wdstream.errors import FamilyError, WdstreamError
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
    "mistral3": "wdstream.families.pixtral:Pixtral",
    "paddleocr_vl": "wdstream.families.paddleocr_vl:PaddleOcrVL",
    "paligemma": "wdstream.families.paligemma:PaliGemma",
    "paligemma2": "wdstream.families.paligemma:PaliGemma",
    "qwen2_vl": "wdstream.families.qwen_vl:QwenVL",
    "qwen2_5_vl": "wdstream.families.qwen_vl:QwenVL",
    "qwen3_vl": "wdstream.families.qwen_vl:QwenVL",
    "smolvlm": "wdstream.families.idefics3:Idefics3",
}
"""`model_type` of config.json -> module:class; a module is imported when its family is asked for."""

_CROSS_ATTENTION = "its images enter by cross-attention, which has no mask between packed documents"
REFUSED_FAMILIES = {
    "idefics": _CROSS_ATTENTION,
    "mllama": _CROSS_ATTENTION,
    **dict.fromkeys(("florence2", "pix2struct", "vision-encoder-decoder"), _CROSS_ATTENTION),
    "internvl_chat": "its processor and model are code of the checkpoint's own; take the same model's -hf checkpoint",
}
"""Families that cannot be packed correctly, with the reason."""


FAMILY_GROUP = "wdstream.families"
"""Entry points under which installed packages offer families of their own, by `model_type`: docs/add-a-family.md."""


SOME_SIDES = np.array([1, 28, 640, 2000], dtype=np.int64)
"""Pixels; sides of images that a family counts when it is loaded, so that absurd settings show at once."""


def load_family(path: str | Path, *, name: str | None = None, allow_tokens: Sequence[str] = ()) -> Family:
    """The family of a local model folder, ready to count, encode and lay out; reads no weights.

    Args:
        path: model folder: config.json, tokenizer.json, tokenizer_config.json, preprocessor_config.json.
        name: family to use instead of the one config.json names.
        allow_tokens: added tokens that page text may form, as `text.allow_tokens` of a configuration.

    Raises:
        FamilyError: no model folder there, unknown family, or settings that the family does not support.
        ConfigError: a token cannot be allowed.
    """
    if not isinstance(path, str | Path):
        raise FamilyError(f"load_family: expected the path of a model folder, found {type(path).__name__} {path!r}")
    if not isinstance(name, str | None):
        raise FamilyError(f"load_family: name: expected a family's name or None, found {type(name).__name__} {name!r}")
    folder = replace(read_model_folder(Path(path)), allow_tokens=tuple(allow_tokens))
    refuse_own_processor(folder)
    wanted = name or folder.model_type
    family = _made(family_class(wanted, folder), folder, wanted)
    if missing := [part for part in ("image_id", "images", "cost") if not hasattr(family, part)]:
        raise FamilyError(
            f"family {wanted} is not whole: {type(family).__name__}.__init__ sets no {' and no '.join(missing)}; "
            "see docs/add-a-family.md"
        )
    return family


def _made(family_type: type[Family], folder: ModelFolder, name: str) -> Family:
    """The family over a folder, having counted an image.

    Raises:
        FamilyError: a setting is of a wrong type or size; names it, or one read shortly before.
    """
    try:
        family = family_type(folder, name)
        if hasattr(family, "images"):
            with np.errstate(divide="raise", over="raise", invalid="raise"):
                family.image_cost(SOME_SIDES, SOME_SIDES[::-1])
    except WdstreamError:
        raise
    except (TypeError, ValueError, LookupError, AttributeError, ArithmeticError, RecursionError) as error:
        last = folder.last_read
        where = f"{folder.path / last['file']}: {last['key']}" if last else str(folder.path)
        raise FamilyError(
            f"{where}, or a setting near it, is not what family {name} reads there ({type(error).__name__}: {error}); "
            "copy the file from the published model"
        ) from error
    return family


def refuse_own_processor(folder: ModelFolder) -> None:
    """A processor that is code of the model folder's own decides lengths and ids by rules that nobody here has seen.

    Models published before transformers had their class still name their own code (`auto_map`). Where the
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
                f"{folder.path}: {file} asks for {lacking[0]}, a processor of the model's own code (auto_map) "
                "that the installed transformers lacks: its lengths cannot be known before it runs, so no plan can "
                "hold; use the model's version for transformers (its name often ends in -hf)"
            )


def is_native(name: str) -> bool:
    """Whether transformers has the class that `auto_map` names: `[repository--]module.Class`."""
    import transformers  # slow to import: only checkpoints with an auto_map pay for it

    return hasattr(transformers, name.rpartition(".")[2])


def family_class(name: str, folder: ModelFolder) -> type[Family]:
    """The class of family `name`; `folder` is only named in errors.

    Raises:
        FamilyError: the family is unknown or refused, two claim its name, or what an installed package offers under it
            is not a family.
    """
    if name in REFUSED_FAMILIES:
        raise FamilyError(f"{folder.path}: family '{name}' cannot be packed: {REFUSED_FAMILIES[name]}")
    installed = entry_points(group=FAMILY_GROUP)
    claims = {f"{_package(point)} ({point.value})": point.value for point in installed if point.name == name}
    if name in FAMILIES:
        claims["wdstream"] = FAMILIES[name]
    if len(claims) > 1:
        raise FamilyError(
            f"{folder.path}: family '{name}' is offered by {' and by '.join(sorted(claims))}; uninstall all but one, "
            f"or offer yours under another name of the entry point group '{FAMILY_GROUP}'"
        )
    if not claims:
        remote = " (its config.json asks for remote code, whose lengths and masks cannot be proven)"
        known = sorted({*FAMILIES, *(point.name for point in installed)})
        raise FamilyError(
            f"{folder.path}: unknown model family '{name}'{remote if 'auto_map' in folder.config else ''}; "
            f"known: {', '.join(known)}; docs/add-a-family.md says how to add one"
        )
    return _load_class(name, claims.popitem()[1])


def _package(point: EntryPoint) -> str:
    """The installed package that offers an entry point."""
    return "an installed package" if point.dist is None else point.dist.name


def _load_class(name: str, reference: str) -> type[Family]:
    """The class at `module:class`."""
    module, _, attribute = reference.partition(":")
    try:
        found: object = getattr(import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise FamilyError(f"family '{name}' at {reference} cannot be imported: {error}") from error
    if not (isinstance(found, type) and issubclass(found, Family)):
        raise FamilyError(
            f"family '{name}' at {reference}: expected a subclass of wdstream.families.base.Family, found {found!r}"
        )
    return found
