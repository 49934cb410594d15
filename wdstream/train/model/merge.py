"""An adapter merged into its base: computed in float32, whatever it was trained in; the caller casts the result.

LoRA with all its forms (rsLoRA, DoRA, modules_to_save) is merged by peft. What was trained over 4-bit weights is merged
into those weights, dequantised: they are what the adapter corrects, so the merged model writes what the run wrote.
"""

import logging
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch

from wdstream.config.adapter import AdapterConfig
from wdstream.config.schema import ModelConfig
from wdstream.errors import TrainError, load_json
from wdstream.proofs.weight_files import ADAPTER
from wdstream.train.model.adapter import quiet_peft, refuse_tied_targets
from wdstream.train.model.load import load_weights
from wdstream.train.saving.weights import load_adapter, read_adapter

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel

_log = logging.getLogger("wdstream")


def merged_model(folder: Path, model: ModelConfig, quantised: AdapterConfig | None) -> "PreTrainedModel":
    """The base with an adapter merged into it, in float32, on the CPU.

    Args:
        folder: of the adapter: adapter_config.json and adapter_model.safetensors.
        model: `path` is the base.
        quantised: how the base was quantised while the adapter was trained; None: it was not.

    Raises:
        TrainError: the folder holds no adapter of this base, or one that cannot be merged.
        FamilyError: the base is not whole.
    """
    adapted = with_adapter(float32_base(model, quantised), folder)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("error", message="Input and output embeddings are no longer tied")
            merged: PreTrainedModel = adapted.merge_and_unload(safe_merge=True)
    except UserWarning as error:
        raise TrainError(
            f"{folder / ADAPTER}: modules_to_save: the embedding and the output head are one weight "
            "(tie_word_embeddings), and the adapter holds one that is trained and one that is not, so it cannot be "
            "merged; load it unmerged, or train both as one (train.adapter.modules_to_save)"
        ) from error
    except ValueError as error:  # of values that are not finite
        raise TrainError(f"{folder}: cannot be merged ({error})") from error
    return merged


def float32_base(model: ModelConfig, quantised: AdapterConfig | None) -> "PreTrainedModel":
    """The weights that an adapter is merged into: those of `model.path`, or what 4 bits left of them."""
    # Nothing is computed with it, so the attention is the one that is always there.
    base = load_weights(model.replace(dtype="float32"), quantised, torch.device("cpu"), "eager")
    if quantised is None:
        return base
    _log.warning(
        "%s: the adapter was trained over these weights in 4 bits, and is merged into them dequantised: the result "
        "writes what the run wrote, and its other weights are not those of the base model",
        model.path,
    )
    from transformers.utils import logging as their_logging

    verbosity = their_logging.get_verbosity()
    their_logging.set_verbosity_error()  # it says what was asked for
    try:
        return cast("PreTrainedModel", base.dequantize(dtype=torch.float32))
    finally:
        their_logging.set_verbosity(verbosity)


def with_adapter(base: "PreTrainedModel", folder: Path) -> "PeftModel":
    """The model with an adapter of a folder on it, not merged.

    Raises:
        TrainError: it is no LoRA adapter, one on a tied weight, or one of another model.
    """
    from peft import PeftConfig, get_peft_model

    settings = read_adapter_config(folder)
    if settings.get("peft_type") != "LORA":
        raise TrainError(f"{folder / ADAPTER}: peft_type: expected LORA, found {settings.get('peft_type')!r}")
    state = read_adapter(folder)
    tied = base.get_expanded_tied_weights_keys(all_submodels=True)
    form = PeftConfig.from_pretrained(str(folder))
    form.base_model_name_or_path = None  # it may be elsewhere now; the weights are compared by name and shape
    try:
        with quiet_peft():
            adapted = cast("PeftModel", get_peft_model(base, form))
    except ValueError as error:
        raise TrainError(f"{folder / ADAPTER}: not an adapter of this base ({error})") from error
    targets = adapted.base_model.targeted_module_names
    refuse_tied_targets(tied, targets, where=f"{folder / ADAPTER}: target_modules")
    load_adapter(adapted, state, folder)
    return adapted


def read_adapter_config(folder: Path) -> Mapping[str, Any]:
    """adapter_config.json of a folder.

    Raises:
        TrainError: there is none, or it is damaged.
    """
    try:
        tree = load_json((folder / ADAPTER).read_bytes())
    except (OSError, ValueError) as error:
        raise TrainError(f"{folder}: not the folder of an adapter: {ADAPTER} cannot be read ({error})") from error
    if not isinstance(tree, dict):
        raise TrainError(f"{folder / ADAPTER}: expected a JSON object, found {type(tree).__name__}")
    return tree


def base_of_adapter(folder: Path) -> Path:
    """The model folder that an adapter names as its base.

    Raises:
        TrainError: it names none that is on this machine.
    """
    name = read_adapter_config(folder).get("base_model_name_or_path") or ""
    path = Path(str(name))
    if not (path / "config.json").is_file():
        raise TrainError(
            f"{folder / ADAPTER}: its base {str(name)!r} is not a model folder of this machine; give the folder with "
            "--base PATH"
        )
    return path
