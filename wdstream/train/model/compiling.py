"""`train.compile`: the layers of the language model, compiled once for all of them.

A layer is compiled and not the whole model: layers are alike, so one graph serves them all, and what comes before them
(positions, masks, the vision tower over images of any size) stays outside. With rows of one length every input of a
layer has one shape, and nothing is compiled again after the first step.
"""

import os
import shutil
import warnings
from importlib.util import find_spec
from typing import TYPE_CHECKING

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType

from wdstream.config.schema import Config
from wdstream.errors import ConfigError
from wdstream.train.model.checkpointing import layers_of

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel

PROVEN_KINDS = (DistributedType.NO, DistributedType.MULTI_CPU, DistributedType.MULTI_GPU)
"""One process, and DDP."""


def check_compile(config: Config, accelerator: Accelerator) -> None:
    """Refuse `train.compile` where it was not shown to compute the same, or has nothing to compile with.

    Raises:
        ConfigError: the run is sharded, or a compiler is missing.
    """
    if not config.train.compile:
        return
    kind = accelerator.distributed_type
    if kind not in PROVEN_KINDS:
        raise ConfigError(
            f"train.compile: under {kind.value} it is not shown that compiled layers compute the same; leave it out, "
            "or start one process or DDP (--multi_gpu)"
        )
    if config.train.compile_backend == "inductor":
        require_compiler(accelerator.device)


def require_compiler(device: torch.device) -> None:
    """Refuse to begin where inductor cannot make a kernel: that would else be said in the first step.

    Raises:
        ConfigError: names what is missing.
    """
    if device.type == "cpu":
        compiler = os.environ.get("CXX", "g++")
        if shutil.which(compiler) is None:
            raise ConfigError(
                f"train.compile: on a CPU it needs a C++ compiler, and there is no {compiler}; install one, name it in "
                "CXX, or leave train.compile out"
            )
    elif find_spec("triton") is None:
        raise ConfigError(
            "train.compile: on a GPU it needs Triton, which this PyTorch came without; install PyTorch for CUDA from "
            "its own index, or leave train.compile out"
        )


def compile_layers(model: "PreTrainedModel | PeftModel", config: Config, *, has_fixed_images: bool = False) -> None:
    """Compile layers as `train.compile` says; in place, names of weights stay.

    Args:
        model: with its adapter, not yet wrapped by Accelerate.
        config: of the run.
        has_fixed_images: batches have one number of patches, so that norms and MLPs of the vision tower are compiled,
            too. Its layers as a whole are not: they take the limits of images, of which there are others in each batch,
            and a graph would be made for each number of them.
    """
    if not config.train.compile:
        return
    # Dynamo itself looks at the gradient of a layer's input; nothing a user could do about it.
    warnings.filterwarnings("ignore", "The .grad attribute of a Tensor that is not a leaf", UserWarning)
    language, vision = layers_of(model)
    parts = (
        [part for layer in vision for part in layer.children() if part is not layer.attn] if has_fixed_images else []
    )
    for module in [*language, *parts]:
        module.compile(backend=config.train.compile_backend, dynamic=False)
