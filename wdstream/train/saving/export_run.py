"""`wdstream model export` and `wdstream model merge`: a checkpoint, or an adapter, to a folder of a model.

No world is needed, nor the machine of the run: weights are put together on one CPU (weights.py), and of the base only
the names and shapes are read, unless an adapter is merged into it.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Literal, cast

import torch
from torch import Tensor

from wdstream.config.adapter import AdapterConfig
from wdstream.config.schema import Config, ModelConfig
from wdstream.errors import ConfigError, TrainError
from wdstream.families.shared.model_folder import read_model_folder
from wdstream.proofs.checkpoint import load_checkpoint, require_finite
from wdstream.runs.best import resolve_checkpoint
from wdstream.runs.checkpoint import Checkpoint, read_checkpoint
from wdstream.runs.layout import RunLayout
from wdstream.runs.record import RunFolder, read_run
from wdstream.storage.atomic import atomic_folder
from wdstream.train.model.adapter import add_adapter
from wdstream.train.model.merge import base_of_adapter, merged_model
from wdstream.train.saving.averaged import averaged, require_model_weights
from wdstream.train.saving.export import write_model
from wdstream.train.saving.exported import exported_from, read_exported
from wdstream.train.saving.model_card import FolderNotes
from wdstream.train.saving.weights import adapter_state, read_state, require_adapter, require_same_names, untied

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel

Dtype = Literal["bfloat16", "float16", "float32"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelReport:
    """What was written.

    Attributes:
        folder: where.
        what: it holds, such as "an adapter".
        source: it comes from.
        dtype: of its weights.
    """

    folder: Path
    what: str
    source: str
    dtype: str

    def __str__(self) -> str:
        return f"{self.what} in {self.dtype}, of {self.source}, in {self.folder}"


def export_run(
    path: Path,
    out: Path,
    *,
    step: str = "newest",
    merge: bool = False,
    dtype: Dtype | None = None,
    base: str | None = None,
    average: bool = False,
) -> ModelReport:
    """Write the model of a checkpoint as a folder; it appears whole or not at all.

    Args:
        path: the run.
        out: the folder, which must not exist, or be empty.
        step: of the checkpoint: a number, `newest` or `best`.
        merge: an adapter is merged into its base.
        dtype: of the weights; None: that in which the run computed.
        base: what the folder calls the model that training began from; None: its absolute path.
        average: take the average of the weights that the run keeps (`train.ema`).

    Raises:
        TrainError: no such run or checkpoint, or one that cannot be put together.
        ConfigError: `out` cannot be a new folder, or there is no adapter to merge.
        FamilyError: the base is not whole, or a weight is not finite in this dtype.
    """
    require_new(out, path)
    run = read_run(path)
    config = run.config
    require_model_weights(config.train, path)
    _require_base(config.model.path, path)
    if merge and config.train.adapter is None:
        raise ConfigError(f"--merge: {path} trained no adapter, but all weights; leave it out")
    checkpoint = read_checkpoint(resolve_checkpoint(path, step))
    chosen = dtype or own_dtype(config.model)
    with atomic_folder(out) as partial:
        if merge:
            _write_merged(partial, run, checkpoint, chosen, average=average)
        else:
            named = base or str(config.model.path.absolute())
            _write_plain(partial, config, checkpoint, chosen, named, average=average)
        notes = notes_of(run, checkpoint, chosen, base=base, is_merged=merge, is_average=average)
        notes.write(partial)
        _require_sound(partial)
    what = "an adapter" if notes.is_adapter else "a merged model" if merge else "a model"
    source = f"{path}, step {checkpoint.step}{', the average of its weights' if average else ''}"
    return ModelReport(folder=out, what=what, source=source, dtype=chosen)


def merge_adapter(folder: Path, out: Path, *, dtype: Dtype | None = None, base: Path | None = None) -> ModelReport:
    """Write an adapter of a folder, merged into its base, as a folder of a model.

    Args:
        folder: of the adapter, as peft writes it.
        out: the folder, which must not exist, or be empty.
        dtype: of the weights; None: that of the base model.
        base: folder of the base; None: the one that the adapter names.

    Raises:
        TrainError: no adapter there, or not of this base.
        ConfigError: `out` is not empty.
        FamilyError: the base is not whole, or a weight is not finite in this dtype.
    """
    require_new(out)
    source, exported = base or base_of_adapter(folder), read_exported(folder)
    model = ModelConfig(path=source)
    chosen = dtype or own_dtype(model)
    merged = merged_model(folder, model, None if exported is None else quantised(exported.adapter))
    with atomic_folder(out) as partial:
        _write_whole(partial, merged, dict(merged.state_dict()), chosen, [folder, source])
        if exported is not None:
            replace(exported, is_merged=True).write(partial)
        _require_sound(partial)
    return ModelReport(folder=out, what="a merged model", source=f"{folder} and {source}", dtype=chosen)


def require_new(out: Path, run: Path | None = None) -> None:
    """Refuse a place where no new folder can appear, or one that a run would take for its own.

    Raises:
        ConfigError: says why.
    """
    if out.is_symlink() or (out.exists() and not out.is_dir()):
        raise ConfigError(f"{out}: a file or a link is there; name a folder that is not there yet")
    place = out.resolve()
    if place == Path.cwd():
        raise ConfigError(f"{out}: the folder that the command runs in cannot be replaced; name a folder in it")
    if out.exists() and any(out.iterdir()):
        raise ConfigError(f"{out}: not empty; remove it, or name another folder for the model")
    files = None if run is None else RunLayout(run.resolve())
    if files is not None and (place == files.final or place.is_relative_to(files.checkpoints)):
        raise ConfigError(
            f"{out}: {files.final.name}/ and {files.checkpoints.name}/ are the run's own; name another folder"
        )


def _require_base(base: Path, run: Path) -> None:
    """Refuse a run whose model folder is gone: names, shapes, tokenizer and processor are read there.

    Raises:
        TrainError: says where it is to be.
    """
    if not (base / "config.json").is_file():
        raise TrainError(
            f"{run}: began from the model folder {base}, which is not there, and the tokenizer and shapes of a model "
            "come from it; put it back there, or make a link to where it is now"
        )


def own_dtype(model: ModelConfig) -> Dtype:
    """`model.dtype`; for `auto`, which depends on the machine, what config.json of the model says."""
    if model.dtype != "auto":
        return model.dtype
    tree = read_model_folder(model.path).config
    named = str(tree.get("dtype") or tree.get("torch_dtype") or "float32")
    return named if named in ("bfloat16", "float16") else "float32"  # type: ignore[return-value]


def quantised(adapter: AdapterConfig | None) -> AdapterConfig | None:
    """How the base of an adapter was quantised; None where it was not."""
    return adapter if adapter is not None and adapter.kind == "qlora" else None


def notes_of(
    run: RunFolder,
    checkpoint: Checkpoint,
    dtype: str,
    *,
    base: str | None = None,
    is_merged: bool = False,
    is_average: bool = False,
) -> FolderNotes:
    """What a folder with the model of a checkpoint says of itself."""
    name = base or str(run.config.model.path.absolute())
    return FolderNotes(
        exported=exported_from(run.config, base=name, step=checkpoint.step, is_merged=is_merged),
        run=run.files.output,
        counters=checkpoint.trainer,
        dtype=dtype,
        is_adapter=run.config.train.adapter is not None and not is_merged,
        is_average=is_average,
    )


def empty_model(config: Config) -> "PreTrainedModel | PeftModel":
    """The model that a run trains, by names and shapes alone: nothing of it is in memory."""
    model = config.model
    allowed = {"allow_missing": model.allow_missing, "allow_unexpected": model.allow_unexpected}
    bare = load_checkpoint(model.path, **allowed, device_map="meta")
    adapter = config.train.adapter
    return bare if adapter is None else add_adapter(bare, adapter, model.path)


def _write_plain(
    folder: Path, config: Config, checkpoint: Checkpoint, dtype: Dtype, base: str, *, average: bool
) -> None:
    """Whole weights, or an adapter alone, as the checkpoint has them."""
    model, state = empty_model(config), read_state(checkpoint)
    if average:
        state = averaged(model, state, checkpoint.path)
    if config.train.adapter is not None:
        require_adapter(cast("PeftModel", model), adapter_state(cast("PeftModel", model), state), checkpoint.path)
        write_model(folder, model, state, dtype=getattr(torch, dtype), base=base, sources=[config.model.path])
        return
    names = set(model.state_dict())
    missing = untied(model, sorted(names - set(state)))
    if missing and checkpoint.zero_stage is not None:  # which leaves out what is frozen: that is as it was
        frozen = load_checkpoint(config.model.path, dtype=torch.float32).state_dict()
        state, missing = {**{name: frozen[name] for name in missing}, **state}, []
    require_same_names(checkpoint.path, missing, sorted(set(state) - names), of="model")
    _write_whole(folder, model, state, dtype, [config.model.path])


def _write_merged(folder: Path, run: RunFolder, checkpoint: Checkpoint, dtype: Dtype, *, average: bool) -> None:
    """The adapter of a checkpoint, merged by way of a folder of its own: as `wdstream model merge` does it."""
    config, adapter = run.config, run.config.train.adapter
    with TemporaryDirectory(dir=folder.parent, prefix=f"{folder.name}.adapter.") as name:
        base = str(config.model.path.absolute())
        _write_plain(Path(name), config, checkpoint, "float32", base, average=average)
        merged = merged_model(Path(name), config.model, quantised(adapter))
    _write_whole(folder, merged, dict(merged.state_dict()), dtype, [config.model.path])


def _write_whole(
    folder: Path, model: "PreTrainedModel", state: dict[str, Tensor], dtype: Dtype, sources: list[Path]
) -> None:
    write_model(folder, model, state, dtype=getattr(torch, dtype), base="", sources=sources)


def _require_sound(folder: Path) -> None:
    """Look at what was written: whole weights have every name, and each weight is finite in its dtype.

    Raises:
        FamilyError: names what is not.
    """
    from safetensors.torch import load_file

    files = sorted(folder.glob("*.safetensors"))
    for file in files:
        require_finite(file, load_file(file).items())
    if (folder / "config.json").is_file():
        load_checkpoint(folder, device_map="meta")
