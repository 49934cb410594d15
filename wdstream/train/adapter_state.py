"""Under PEFT a checkpoint holds the adapter alone: the frozen base is already on disk at `model.path`."""

from pathlib import Path
from typing import Any

from accelerate import Accelerator
from accelerate.utils import DistributedType
from safetensors.torch import load_file, save_file

ADAPTER_FILE = "adapter_model.safetensors"


def save_adapter_only(accelerator: Accelerator) -> None:
    """Make `save_state` and `load_state` leave out the base model.

    FSDP and DeepSpeed save shards on paths of their own, which these hooks do not touch: a checkpoint of FSDP holds the
    whole model, one of DeepSpeed what is trained (train/checkpoint.py).
    """
    if accelerator.distributed_type in (DistributedType.FSDP, DistributedType.DEEPSPEED):
        return

    def save(models: list[Any], weights: list[Any], folder: str) -> None:
        from peft import get_peft_model_state_dict

        for model in models:
            if accelerator.is_main_process:
                state = get_peft_model_state_dict(accelerator.unwrap_model(model))
                tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in sorted(state.items())}
                save_file(tensors, Path(folder) / ADAPTER_FILE)
        weights.clear()  # what stays in the list, Accelerate writes

    def load(models: list[Any], folder: str) -> None:
        from peft import set_peft_model_state_dict

        while models:  # what stays in the list, Accelerate loads
            model = accelerator.unwrap_model(models.pop())
            set_peft_model_state_dict(model, load_file(Path(folder) / ADAPTER_FILE))

    accelerator.register_save_state_pre_hook(save)
    accelerator.register_load_state_pre_hook(load)
