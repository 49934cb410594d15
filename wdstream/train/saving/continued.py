"""What a start may not change of the run that it continues: the form of its adapter, the beginning of its average."""

from contextlib import suppress
from pathlib import Path

from wdstream.config.adapter import AdapterConfig
from wdstream.config.training import TrainConfig
from wdstream.errors import ConfigError, TrainError
from wdstream.runs.checkpoint import Checkpoint
from wdstream.runs.record import read_run
from wdstream.train.model.ema import EMA_FILE

FREE = {"dropout"}
"""Of an adapter, what another start may change. Another scale or base would continue with other weights, silently."""
AS_SETS = ("parts", "modules_to_save", "train_tokens", "quantized_parts", "target_modules")
"""Lists of which the order means nothing."""


def check_continued(train: TrainConfig, start: Checkpoint) -> None:
    """Compare settings with those that a checkpoint was written with; nothing is loaded yet.

    Raises:
        ConfigError: names each key that differs, and both values.
    """
    with suppress(TrainError):  # its record is lost; weights of another form are refused when they are loaded
        run = start.path.parent.parent  # another one than train.output, where train.resume names its checkpoint
        require_same_adapter(read_run(run).config.train.adapter, train.adapter, start.path)
    ema = train.ema
    if ema is not None and ema.from_step > start.step and (start.path / EMA_FILE).is_file():
        raise ConfigError(
            f"train.ema.from_step: {ema.from_step}: the average that {start.path} holds began before its step "
            f"{start.step}; bring from_step back, or begin a new run in another train.output"
        )


def require_same_adapter(before: AdapterConfig | None, after: AdapterConfig | None, path: Path) -> None:
    """Refuse another adapter than that of a checkpoint.

    Args:
        before: with which it was written.
        after: of this start.
        path: of the checkpoint.

    Raises:
        ConfigError: names each key that differs, and both values.
    """
    forms = _form(before), _form(after)
    keys = sorted({key for form in forms for key in form})
    if None in (before, after):
        keys = ["kind"]
    changed = [f"{key}: {forms[0].get(key)} then, {forms[1].get(key)} now" for key in keys if _differs(forms, key)]
    if changed:
        raise ConfigError(
            f"train.adapter: {path} was written with another one ({'; '.join(changed)}), and an adapter cannot change "
            "within a run; bring it back as it was, or begin a new run in another train.output"
        )


def _differs(forms: tuple[dict[str, object], dict[str, object]], key: str) -> bool:
    return forms[0].get(key) != forms[1].get(key)


def _form(adapter: AdapterConfig | None) -> dict[str, object]:
    """What makes the weights of an adapter, by key, in a form that can be compared."""
    if adapter is None:
        return {"kind": "no adapter"}
    tree = adapter.model_dump(mode="json", exclude=FREE)
    if adapter.target_modules is None and not adapter.parts:
        tree["parts"] = ["language"]
    for key in AS_SETS:
        if isinstance(tree[key], list):
            tree[key] = sorted({*tree[key]})
    return tree | {key: list(tree[key].items()) for key in ("rank_pattern", "alpha_pattern")}
