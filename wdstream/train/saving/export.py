"""A trained model as a folder that plain transformers and peft load: from a run at its end, or from any checkpoint.

config.json, generation_config.json, model*.safetensors     whole weights, in one dtype, which config.json says
adapter_config.json, adapter_model.safetensors              an adapter alone; the path of its base holds anywhere
tokenizer, processor, chat template                         of the model folder that training began from
README.md, wdstream_run.json                                model_card.py, exported.py
"""

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

import torch
from safetensors.torch import save_file
from torch import Tensor

from wdstream.errors import load_json
from wdstream.proofs.checkpoint import without_bars
from wdstream.storage.atomic import atomic_folder, write_file
from wdstream.train.saving.exported import NOTES
from wdstream.train.saving.model_card import FolderNotes
from wdstream.train.saving.weights import ADAPTER_FILE, adapter_state, in_dtype, tied_again
from wdstream.train.step.step import Engine

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel

SIDE_FILES = ("*.json", "*.jinja", "*.txt", "*.model")
WRITTEN_BY_MODEL = {"config.json", "generation_config.json", "adapter_config.json", NOTES}
INDEX_SUFFIX = ".index.json"
_DTYPE_KEYS = ("dtype", "torch_dtype")


def export_final(engine: Engine, *, source: Path, folder: Path, notes: FolderNotes | None = None) -> None:
    """Write the model, or under PEFT its adapter, all ranks together; `folder` appears complete or not at all.

    Args:
        engine: the trained model.
        source: the model folder that training began from; its tokenizer and processor files are copied.
        folder: what to write; replaced when it exists.
        notes: what the folder says of itself.
    """
    accelerator = engine.accelerator
    model: PreTrainedModel = accelerator.unwrap_model(engine.model)
    state = accelerator.get_state_dict(engine.model) or {}  # under ZeRO-3 nothing on other ranks than the main one
    if accelerator.is_main_process:
        with atomic_folder(folder) as partial:
            write_model(partial, model, state, dtype=engine.dtype, base=str(source.absolute()), sources=[source])
            if notes is not None:
                notes.write(partial)
    accelerator.wait_for_everyone()


def write_model(
    folder: Path,
    model: "PreTrainedModel | PeftModel",
    state: Mapping[str, Tensor],
    *,
    dtype: torch.dtype,
    base: str,
    sources: Sequence[Path],
) -> None:
    """Fill a folder with a model, or under PEFT its adapter.

    Args:
        folder: where; it is empty.
        model: says what there is; its own weights, which may be on the meta device, are not read.
        state: the weights by name, those of an adapter as the model names them.
        dtype: of the weights in the folder.
        base: of an adapter, the model that it is for: a path or the name at a hub.
        sources: model folders whose tokenizer and processor are copied, of two files of one name the first.
    """
    if hasattr(model, "peft_config"):
        _write_adapter(folder, cast("PeftModel", model), state, dtype=dtype, base=base)
    else:
        weights = {name: in_dtype(tensor, dtype) for name, tensor in state.items()}
        with without_bars():
            model.save_pretrained(folder, state_dict=tied_again(model, weights))
        _settle_config(folder / "config.json", dtype, sources[-1])
    for path in (path for source in sources for path in side_files(source)):
        if not (folder / path.name).exists():
            shutil.copy2(path, folder / path.name)


def _write_adapter(
    folder: Path, model: "PeftModel", state: Mapping[str, Tensor], *, dtype: torch.dtype, base: str
) -> None:
    """adapter_config.json and adapter_model.safetensors, as peft writes them."""
    settings = replace(model.peft_config["default"], base_model_name_or_path=base, inference_mode=True)
    settings.save_pretrained(str(folder))
    own = adapter_state(model, dict(state))
    tensors = {name: in_dtype(tensor.detach().cpu(), dtype).clone() for name, tensor in own.items()}
    save_file(tensors, folder / ADAPTER_FILE, metadata={"format": "pt"})


def side_files(source: Path) -> list[Path]:
    """Tokenizer, processor and template files of a model folder; not its weights and what describes them."""
    paths = sorted(path for pattern in SIDE_FILES for path in source.glob(pattern))
    return [path for path in paths if path.name not in WRITTEN_BY_MODEL and not path.name.endswith(INDEX_SUFFIX)]


def _settle_config(path: Path, dtype: torch.dtype, source: Path) -> None:
    """Have config.json say the dtype of the weights, where transformers writes that of the model in memory, and of
    the cache, which is off while training, what the model that training began from says."""
    tree, before = load_json(path.read_bytes()), load_json((source / path.name).read_bytes())
    tree.pop("use_cache", None)
    tree |= {key: value for key, value in before.items() if key == "use_cache"}
    text = json.dumps(_with_dtype(tree, str(dtype).removeprefix("torch.")), indent=2, sort_keys=True)
    write_file(path, f"{text}\n".encode())


def _with_dtype(tree: dict[str, object], dtype: str) -> dict[str, object]:
    """A config with this dtype wherever it names one, also for its parts; always for the whole."""
    parts = {key: _with_named_dtype(value, dtype) for key, value in tree.items() if key not in _DTYPE_KEYS}
    return {**parts, "dtype": dtype}


def _with_named_dtype(value: object, dtype: str) -> object:
    if not isinstance(value, dict):
        return value
    return {key: dtype if key in _DTYPE_KEYS else _with_named_dtype(part, dtype) for key, part in value.items()}
