"""Warm start (`model.init`): weights that a new run begins from, in place of those of `model.path`.

    a run                      its newest checkpoint
    checkpoints/step-N         the weights, or the adapter, of that checkpoint
    a model folder             such as final/ or an exported one; of another size or form it is refused
    an adapter's folder        of wdstream or of peft

    train.adapter   source            what happens
    none            whole weights     training begins with them
    none            an adapter        it is merged into model.path, and the whole is trained
    set             an adapter        its training continues; it has to be of the same form, on the same base
    set             whole weights     refused: that is what model.path is for, of which each start reads the frozen base

Step and data begin at 0. A run that has a checkpoint continues from that, and looks at `model.init` no more.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from accelerate import Accelerator
from torch.optim import Optimizer

from wdstream.config.adapter import AdapterConfig
from wdstream.config.schema import Config
from wdstream.errors import ConfigError, TrainError
from wdstream.proofs.weight_files import ADAPTER
from wdstream.runs.best import resolve_checkpoint
from wdstream.runs.checkpoint import MANIFEST, Checkpoint, read_checkpoint
from wdstream.runs.layout import RunLayout
from wdstream.runs.record import read_run
from wdstream.text.encoder import TextEncoder
from wdstream.train.launch.accelerator import is_sharded
from wdstream.train.launch.zero import zero_stage
from wdstream.train.model.adapter import add_adapter
from wdstream.train.model.merge import read_adapter_config, with_adapter
from wdstream.train.saving.averaged import require_model_weights
from wdstream.train.saving.exported import read_exported
from wdstream.train.saving.together import from_main
from wdstream.train.saving.weights import load_adapter, load_trained, read_adapter
from wdstream.train.saving.whole_weights import OPTIMIZER_FILE

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel

_FORM = ("r", "lora_alpha", "use_rslora", "use_dora", "rank_pattern", "alpha_pattern")
"""Of adapter_config.json: what decides what an adapter computes, besides its weights."""
_ADAMW = {"adamw", "adamw_fused"}
"""Optimizers with one form of state."""
_OF_SHAPE = ("exp_avg", "momentum_buffer", "state1")
"""Of the state of a parameter: what has its shape, by the optimizer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WarmStart:
    """Where the weights of a new run come from; whole, or an adapter.

    Attributes:
        path: as `model.init` says.
        base: model folder that the source began from, or what it calls it; "" where it does not say.
        checkpoint: of a run; None for a folder of a model or adapter.
        adapter: as its run trained it; None for whole weights, and for an adapter of peft.
        optimizer: of the run; None for a folder of a model or adapter.
        form: of an adapter, `_FORM`; None for whole weights.
    """

    path: Path
    base: str
    checkpoint: Checkpoint | None
    adapter: AdapterConfig | None
    optimizer: str | None = None
    form: Mapping[str, Any] | None

    @property
    def weights_folder(self) -> Path | None:
        """The model folder to read in place of `model.path`; None where there is none."""
        return self.path if self.checkpoint is None and self.form is None else None

    def facts(self) -> dict[str, object]:
        """What run.json says of it."""
        source = self.path if self.checkpoint is None else self.checkpoint.path
        step = {} if self.checkpoint is None else {"step": self.checkpoint.step}
        return {"path": str(source.absolute()), "kind": "weights" if self.form is None else "adapter", **step}

    def describe(self) -> str:
        """A line for the user."""
        facts = self.facts()
        return f"model.init: begins from the {facts['kind']} of {facts['path']}"

    def put_in(self, model: "PreTrainedModel") -> "PreTrainedModel":
        """The model to train whole, with the source's weights, or with its adapter merged into it.

        Raises:
            TrainError: the source is of another model.
        """
        if self.form is not None:
            adapted = with_adapter(model, self.path) if self.checkpoint is None else self._with_own_adapter(model)
            model = cast("PreTrainedModel", adapted.merge_and_unload(safe_merge=True))
            model.requires_grad_(True)  # peft froze what is under an adapter
        elif self.checkpoint is not None:
            load_trained(model, self.checkpoint)
        return model

    def put_in_adapter(self, model: "PeftModel") -> None:
        """Give the adapter of a model the source's weights.

        Raises:
            TrainError: it is of another form.
        """
        if self.checkpoint is not None:
            load_trained(model, self.checkpoint)
        else:
            load_adapter(model, read_adapter(self.path), self.path)

    def _with_own_adapter(self, model: "PreTrainedModel") -> "PeftModel":
        assert self.adapter is not None and self.checkpoint is not None
        adapted = add_adapter(model, self.adapter, Path(self.base))
        load_trained(adapted, self.checkpoint)
        return adapted


def warm_start(config: Config, accelerator: Accelerator, messages: list[str]) -> WarmStart | None:
    """`find_warm_start` under an accelerator; a line on what is found is added to the messages."""
    find = partial(find_warm_start, config, is_sharded=is_sharded(accelerator), zero_stage=zero_stage(accelerator))
    # One process decides for all: a run that still trains has a newer checkpoint a moment later.
    init = None if config.model.init is None else from_main(find, is_main=accelerator.is_main_process)
    messages += [] if init is None else [init.describe()]
    return init


def find_warm_start(config: Config, *, is_sharded: bool, zero_stage: int | None) -> WarmStart | None:
    """Where a new run's weights come from, checked against how it trains; no weights are read but for checksums.

    Args:
        config: of the run.
        is_sharded: no process holds whole weights.
        zero_stage: of DeepSpeed, or None.

    Raises:
        ConfigError: there is nothing to begin from at `model.init`, or nothing that goes with the other settings.
        TrainError: it is damaged.
    """
    path = config.model.init
    if path is None:
        return None
    found = _read(path)
    _require_fitting(found, config)
    if config.model.init_optimizer:
        _require_optimizer(found, config, is_whole=not is_sharded and zero_stage is None)
    return found


def _require_optimizer(found: WarmStart, config: Config, *, is_whole: bool) -> None:
    """Refuse a source without a state that this run's optimizer could begin with.

    Raises:
        ConfigError: says why.
    """
    ours, theirs = config.train.optimizer, found.optimizer
    if found.checkpoint is None:
        why = "has no optimizer"
    elif not is_whole:
        why = "under FSDP and DeepSpeed it is in shards of its world"
    elif ours != theirs and not {ours, theirs} <= _ADAMW:
        why = f"its optimizer is {theirs}, and train.optimizer {ours}"
    else:
        return
    raise ConfigError(
        f"model.init_optimizer: the optimizer's state comes from a checkpoint of a run: {found.path}: {why}; leave it "
        "out"
    )


def _read(path: Path) -> WarmStart:
    if RunLayout(path).record.is_file() or (path / MANIFEST).is_file():
        return _of_checkpoint(path)
    if (path / ADAPTER).is_file():
        settings, exported = read_adapter_config(path), read_exported(path)
        form = {name: settings.get(name) for name in _FORM}
        base = str(settings.get("base_model_name_or_path") or "")
        adapter = None if exported is None else exported.adapter
        return WarmStart(path=path, base=base, checkpoint=None, adapter=adapter, form=form)
    if (path / "config.json").is_file():
        return WarmStart(path=path, base="", checkpoint=None, adapter=None, form=None)
    raise ConfigError(
        f"model.init: {path} holds no run, checkpoint (checkpoints/step-N), model or adapter; is the path right?"
    )


def _of_checkpoint(path: Path) -> WarmStart:
    is_run = RunLayout(path).record.is_file()
    checkpoint = read_checkpoint(resolve_checkpoint(path, "newest") if is_run else path)
    config = read_run(path if is_run else path.absolute().parent.parent).config
    require_model_weights(config.train, checkpoint.path)
    adapter, base = config.train.adapter, str(config.model.path)
    form = None if adapter is None else _form_of(adapter)
    return WarmStart(
        path=path, base=base, checkpoint=checkpoint, adapter=adapter, optimizer=config.train.optimizer, form=form
    )


def _form_of(adapter: AdapterConfig) -> dict[str, Any]:
    values = (adapter.r, adapter.alpha, adapter.rslora, adapter.dora, adapter.rank_pattern, adapter.alpha_pattern)
    return dict(zip(_FORM, values, strict=True))


def _require_fitting(found: WarmStart, config: Config) -> None:
    """Refuse a source that does not go with `train.adapter` or `model.path`.

    Raises:
        ConfigError: says what differs.
    """
    adapter, path = config.train.adapter, found.path
    if found.form is not None:
        _require_same_base(found, config.model.path)
    if found.form is None and adapter is not None:
        raise ConfigError(
            f"model.init: {path} holds whole weights, and train.adapter trains an adapter over frozen ones, which each "
            "start reads from model.path: give the folder as model.path (of a checkpoint: `wdstream model export`), "
            "and leave out model.init"
        )
    if adapter is None and found.adapter is not None and found.adapter.kind == "qlora":
        raise ConfigError(
            f"model.init: {path} is an adapter over weights in 4 bits; merge it first (`wdstream model merge`, or "
            "`model export --merge`), and give the result"
        )
    _require_same_tokenizer(found, config.model.path)
    if adapter is not None and found.adapter is not None and found.adapter.kind != adapter.kind:
        raise ConfigError(
            f"model.init: {path}: its adapter was trained as {found.adapter.kind}, over other values of the base than "
            f"train.adapter.kind: {adapter.kind} has; set kind as it was, or merge it first (`wdstream model merge`)"
        )
    ours = {} if adapter is None else _form_of(adapter)
    for name, value in ours.items():
        theirs = (found.form or {}).get(name) or type(value)()
        if theirs != value:
            raise ConfigError(
                f"model.init: {path}: its adapter has {name} {theirs}, and train.adapter {value}; set train.adapter as "
                "it was, or merge the adapter first (`wdstream model merge`) and give the result as model.path"
            )


def _require_same_base(found: WarmStart, path: Path) -> None:
    """Refuse an adapter that was trained over another model folder of this machine than `model.path`.

    Raises:
        ConfigError: names both.
    """
    base = Path(found.base)
    if not (base / "config.json").is_file() or base.samefile(path):
        return
    if not _looks_alike(base, path):
        raise ConfigError(
            f"model.init: {found.path} is an adapter over {base}, and model.path is another model, {path}; set "
            "model.path to its base"
        )


def _require_same_tokenizer(found: WarmStart, path: Path) -> None:
    """Refuse weights whose rows stand for other tokens than those of `model.path`, as far as their tokenizer is here.

    Raises:
        ConfigError: names both folders.
    """
    source = found.weights_folder or Path(found.base)
    if not (source / "tokenizer.json").is_file() or source.samefile(path):
        return
    if TextEncoder.open(source).ids != TextEncoder.open(path).ids:
        raise ConfigError(
            f"model.init: {found.path} was trained with the tokenizer of {source}, and {path} has other ids for tokens;"
            " set model.path to a folder with that tokenizer"
        )


def _looks_alike(one: Path, other: Path) -> bool:
    """Whether two model folders have the same config.json, and weight files of the same names and sizes."""
    sizes = [{file.name: file.stat().st_size for file in path.glob("*.safetensors")} for path in (one, other)]
    texts = [(path / "config.json").read_bytes() for path in (one, other)]
    return sizes[0] == sizes[1] and texts[0] == texts[1]


def load_optimizer(optimizer: Optimizer, start: WarmStart) -> None:
    """Give a new run's optimizer the state of the source's; rates and other settings stay those of the new run.

    Raises:
        ConfigError: it is of other parameters.
    """
    assert start.checkpoint is not None
    file = start.checkpoint.path / OPTIMIZER_FILE
    if not file.is_file():
        raise ConfigError(f"model.init_optimizer: {file} is not there: a sharded run wrote it otherwise; leave it out")
    saved = torch.load(file, map_location="cpu", weights_only=True)
    groups = optimizer.state_dict()["param_groups"]
    sizes = [[len(group["params"]) for group in found] for found in (saved["param_groups"], groups)]
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    wrong = sizes[0] != sizes[1] or any(
        name in state and state[name].shape != parameters[number].shape
        for number, state in saved["state"].items()
        for name in _OF_SHAPE
    )
    if wrong:
        raise ConfigError(
            f"model.init_optimizer: {file} is of other parameters (groups of {sizes[0]}, here {sizes[1]}): what is "
            "trained, and by which optimizer, has to be as it was; leave it out to begin with a new state"
        )
    optimizer.load_state_dict({"state": saved["state"], "param_groups": groups})


def require_kept(model: "PreTrainedModel | PeftModel", start: WarmStart | None, zero_stage: int | None) -> None:
    """Refuse a warm start whose weights a resume would lose: DeepSpeed's checkpoints leave out what is frozen.

    Raises:
        TrainError: names a frozen weight.
    """
    if start is None or (start.form is not None and hasattr(model, "peft_config")) or zero_stage is None:
        return
    frozen = [name for name, parameter in model.named_parameters() if not parameter.requires_grad]
    if frozen:
        raise TrainError(
            f"model.init: {frozen[0]} is frozen, and checkpoints under DeepSpeed leave frozen weights out, so that a "
            "resume would take those of model.path; give the folder as model.path instead"
        )
