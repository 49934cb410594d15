"""The weights of a checkpoint, put together on one process, without the world that wrote it.

    model.safetensors, adapter_model.safetensors    one process, DDP
    pytorch_model_fsdp_0/, pytorch_model_fsdp.bin   FSDP: shards, which torch puts together; or one file of all
    pytorch_model/                                  DeepSpeed: shards, which its own reader puts together

Names are those of the model that training built: whole weights, or under PEFT those of the adapter among others.
"""

import sys
import warnings
from collections.abc import Mapping
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from wdstream.errors import TrainError, needs_extra
from wdstream.proofs.weight_files import WEIGHTS, some_names
from wdstream.runs.checkpoint import Checkpoint
from wdstream.train.saving.together import describe_ranks

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel

ADAPTER_FILE = "adapter_model.safetensors"
WRAPPED = "module."
"""Before every name in the weights that DDP wrote in versions of before."""
FSDP_SHARDS, FSDP_FILE, ZERO_SHARDS = "pytorch_model_fsdp_0", "pytorch_model_fsdp.bin", "pytorch_model"
"""Of Accelerate: a folder, a file, a folder."""
_OF = {"adapter": "model and train.adapter", "model": "model"}
HOLDS_ADAPTER, HOLDS_ALL, HOLDS_SHARDS = "an adapter", "all weights", "shards of FSDP"
"""What a checkpoint can hold, in words."""


def read_state(checkpoint: Checkpoint) -> dict[str, Tensor]:
    """All weights of a checkpoint by name, on the CPU.

    Raises:
        TrainError: they are in a form that cannot be put together here; says what to do.
    """
    path = checkpoint.path
    for name in (ADAPTER_FILE, WEIGHTS):
        if (path / name).is_file():
            return {weight.removeprefix(WRAPPED): tensor for weight, tensor in load_file(path / name).items()}
    if checkpoint.zero_stage is not None:
        return _from_zero(path)
    if (path / FSDP_SHARDS / ".metadata").is_file():
        return _from_shards(path / FSDP_SHARDS)
    if (path / FSDP_FILE).is_file():
        return cast(dict[str, Tensor], torch.load(path / FSDP_FILE, map_location="cpu", weights_only=True))
    raise TrainError(
        f"{path}: its weights are in a form that one process cannot put together ({_listed(path)}); start the run's "
        "own command again with train.max_steps at this step: it continues, and writes final/"
    )


def weights_form(path: Path) -> str | None:
    """In which form the weights of a checkpoint are, in words; None where no file of them is there."""
    forms = {FSDP_SHARDS: HOLDS_SHARDS, FSDP_FILE: HOLDS_SHARDS, ADAPTER_FILE: HOLDS_ADAPTER, WEIGHTS: HOLDS_ALL}
    return next((form for name, form in forms.items() if (path / name).exists()), None)


def load_trained(model: "PreTrainedModel | PeftModel", checkpoint: Checkpoint) -> None:
    """Put the weights of a checkpoint into the model that its run's configuration builds.

    Raises:
        TrainError: it is of another model or adapter; names weights.
    """
    put_state(model, read_state(checkpoint), checkpoint)


def put_state(model: "PreTrainedModel | PeftModel", state: dict[str, Tensor], checkpoint: Checkpoint) -> None:
    """Put weights by name, of a checkpoint, into the model that its run's configuration builds.

    Raises:
        TrainError: they are of another model or adapter; names weights.
    """
    if hasattr(model, "peft_config"):
        adapted = cast("PeftModel", model)
        load_adapter(adapted, adapter_state(adapted, state), checkpoint.path)
        return
    own = model.state_dict()
    missing = untied(model, sorted(set(own) - set(state)))
    # DeepSpeed left the frozen weights out; they are those of `model.path`, as the model has them already.
    lacking = [] if checkpoint.zero_stage is not None else missing
    require_same_names(checkpoint.path, lacking, sorted(set(state) - set(own)), of="model")
    require_same_shapes(checkpoint.path, state, own, of="model")
    model.load_state_dict(state, strict=False)


def untied(model: "PreTrainedModel", names: list[str]) -> list[str]:
    """Names without those of weights that are another's under a second name."""
    tied = set(model.get_expanded_tied_weights_keys(all_submodels=True))
    return [name for name in names if name not in tied]


def adapter_state(model: "PeftModel", state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The adapter among the weights of a checkpoint, named as peft writes it to a file."""
    from peft import get_peft_model_state_dict

    own = dict(model.named_parameters())
    if not any(name in own for name in state):  # named so already
        return state
    return dict(get_peft_model_state_dict(model, state_dict=state))


def load_adapter(model: "PeftModel", state: dict[str, Tensor], source: Path) -> None:
    """Put an adapter, named as in a file of peft, into a model that has one of the same form.

    Raises:
        TrainError: it is of another form; names weights.
    """
    from peft import set_peft_model_state_dict

    require_adapter(model, state, source)
    set_peft_model_state_dict(model, state)


def read_adapter(folder: Path) -> dict[str, Tensor]:
    """The weights of an adapter's folder, named as in a file of peft.

    Raises:
        TrainError: there are none, or they are damaged.
    """
    path = folder / ADAPTER_FILE
    if not path.is_file():
        raise TrainError(f"{folder}: no {ADAPTER_FILE} there; weights of an adapter as a pickle are not read")
    try:
        return load_file(path)
    except SafetensorError as error:
        raise TrainError(f"{path}: damaged ({error}); copy or export the adapter again") from error


def require_adapter(model: "PeftModel", state: dict[str, Tensor], source: Path) -> None:
    """Refuse an adapter, named as in a file of peft, that is not of the form of the model's own.

    Raises:
        TrainError: it is of another form; names weights.
    """
    from peft import get_peft_model_state_dict

    wanted = get_peft_model_state_dict(model)
    require_same_names(source, sorted(set(wanted) - set(state)), sorted(set(state) - set(wanted)), of="adapter")
    require_same_shapes(source, state, wanted, of="adapter")


def require_same_names(source: Path, missing: list[str], unexpected: list[str], *, of: str) -> None:
    """Refuse weights that are not those of the model.

    Raises:
        TrainError: names what is missing, and what has no place.
    """
    if missing:
        raise TrainError(f"{source} is not of this {_OF[of]}: it lacks {some_names(missing)}")
    if unexpected:
        raise TrainError(f"{source} is not of this {_OF[of]}, which has no {some_names(unexpected)}")


def require_same_shapes(source: Path, state: Mapping[str, Tensor], wanted: Mapping[str, Tensor], *, of: str) -> None:
    """Refuse weights of other shapes than the model's.

    Raises:
        TrainError: names one.
    """
    for name, tensor in sorted(state.items()):
        if tensor.shape != wanted[name].shape:
            shapes = f"{tuple(tensor.shape)}, expected {tuple(wanted[name].shape)}"
            raise TrainError(f"{source} is not of this {_OF[of]}: {name} is {shapes}")


def tied_again(model: nn.Module, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same state with one tensor wherever the model has one under two names; copies would be written twice."""
    first: dict[int, str] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        if name in state:
            state[name] = state[first.setdefault(id(parameter), name)]
    return state


def in_dtype(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """Weights in floating point in another dtype; all else (4-bit bytes, indices) as it is."""
    return tensor.to(dtype) if tensor.is_floating_point() else tensor


def _from_shards(folder: Path) -> dict[str, Tensor]:
    """The tensors that torch's distributed checkpoints hold, each whole."""
    from torch.distributed.checkpoint.api import CheckpointException
    from torch.distributed.checkpoint.filesystem import FileSystemReader
    from torch.distributed.checkpoint.metadata import TensorStorageMetadata
    from torch.distributed.checkpoint.state_dict_loader import load

    entries = FileSystemReader(folder).read_metadata().state_dict_metadata
    tensors = {name: entry for name, entry in entries.items() if isinstance(entry, TensorStorageMetadata)}
    state = {name: torch.empty(entry.size, dtype=entry.properties.dtype) for name, entry in tensors.items()}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.distributed is disabled", category=UserWarning)  # as meant
        try:
            load(state, checkpoint_id=folder, no_dist=True)
        except CheckpointException as error:
            raise TrainError(f"{folder} cannot be read:\n{describe_ranks(error)}") from error
    return {name.removeprefix("model."): tensor for name, tensor in state.items()}  # the key that Accelerate adds


def _from_zero(path: Path) -> dict[str, Tensor]:
    """The float32 weights that DeepSpeed's shards hold of what was trained."""
    with redirect_stdout(sys.stderr):  # it prints what it does, and a command may print JSON
        with needs_extra(f"{path}: to put DeepSpeed's shards together", "deepspeed", error_type=TrainError):
            from deepspeed.utils.zero_to_fp32 import get_fp32_state_dict_from_zero_checkpoint
        found: dict[str, Tensor] = get_fp32_state_dict_from_zero_checkpoint(
            str(path), tag=ZERO_SHARDS, exclude_frozen_parameters=True
        )
    return found


def _listed(path: Path) -> str:
    return some_names(sorted(entry.name for entry in path.iterdir()))
