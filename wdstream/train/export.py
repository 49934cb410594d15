"""The result of a run: `output/final`, which `from_pretrained` loads, with tokenizer and processor."""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from wdstream.storage.atomic import atomic_folder
from wdstream.train.step import Engine

if TYPE_CHECKING:
    from transformers import PreTrainedModel

SIDE_FILES = ("*.json", "*.jinja", "*.txt", "*.model")
WRITTEN_BY_MODEL = {"config.json", "generation_config.json", "adapter_config.json"}
INDEX_SUFFIX = ".index.json"


def export_final(engine: Engine, *, source: Path, folder: Path) -> None:
    """Write the model, or under PEFT its adapter, all ranks together; `folder` appears complete or not at all.

    Args:
        engine: the trained model.
        source: the model folder that training began from; its tokenizer and processor files are copied.
        folder: what to write; replaced when it exists.
    """
    accelerator = engine.accelerator
    model: PreTrainedModel = accelerator.unwrap_model(engine.model)
    gathered = accelerator.get_state_dict(engine.model) or {}  # under ZeRO-3 nothing on other ranks than the main one
    state = tied_again(model, {name: in_dtype(tensor, engine.dtype) for name, tensor in gathered.items()})
    if accelerator.is_main_process:
        with atomic_folder(folder) as partial:
            model.save_pretrained(partial, state_dict=state)
            for path in side_files(source):
                if not (partial / path.name).exists():
                    shutil.copy2(path, partial / path.name)
    accelerator.wait_for_everyone()


def tied_again(model: torch.nn.Module, state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The same state with one tensor wherever the model has one under two names; copies would be written twice."""
    first: dict[int, str] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        if name in state:
            state[name] = state[first.setdefault(id(parameter), name)]
    return state


def in_dtype(tensor: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Float32 master weights in the dtype that the model computes in; all else (4-bit bytes, indices) as it is."""
    return tensor.to(dtype) if tensor.dtype == torch.float32 else tensor


def side_files(source: Path) -> list[Path]:
    """Tokenizer, processor and template files of a model folder; not its weights and what describes them."""
    paths = sorted(path for pattern in SIDE_FILES for path in source.glob(pattern))
    return [path for path in paths if path.name not in WRITTEN_BY_MODEL and not path.name.endswith(INDEX_SUFFIX)]
