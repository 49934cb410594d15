"""Checkpoints are complete or absent; damaged ones are passed over with a sentence."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from torch import nn

from wdstream.errors import TrainError
from wdstream.runs.checkpoint import Retention, checkpoint_path, find_newest, list_checkpoints, read_checkpoint
from wdstream.runs.layout import RunLayout
from wdstream.train.saving.checkpoint import Checkpoints


@pytest.fixture(scope="module")
def accelerator() -> Accelerator:
    return Accelerator(cpu=True)


def make(accelerator: Accelerator, folder: Path, *, keep: int = 3) -> tuple[Checkpoints, Any, Any]:
    accelerator._models.clear()
    accelerator._optimizers.clear()
    layer = nn.Linear(4, 4)
    model, optimizer = accelerator.prepare(layer, torch.optim.AdamW(layer.parameters(), lr=0.1))
    return Checkpoints(RunLayout(folder), accelerator, keep=Retention(newest=keep)), model, optimizer


def save(checkpoints: Checkpoints, step: int) -> Path:
    checkpoints.save(step, stream={"step": step}, trainer={"step": step, "num_pages": 10 * step})
    return checkpoint_path(checkpoints._files.checkpoints, step)


def test_saved_and_loaded(accelerator: Accelerator, tmp_path: Path) -> None:
    checkpoints, model, optimizer = make(accelerator, tmp_path)
    model(torch.ones(1, 4)).sum().backward()
    optimizer.step()
    path = save(checkpoints, 5)
    assert path == tmp_path / "checkpoints" / "step-00000005"
    weights = model.weight.detach().clone()
    moments = optimizer.state[model.weight]["exp_avg"].clone()
    model(torch.ones(1, 4)).sum().backward()
    optimizer.step()
    found, messages = checkpoints.newest()
    assert messages == []
    assert found is not None
    assert (found.step, found.world_size, found.stream, found.trainer) == (
        5,
        1,
        {"step": 5},
        {"step": 5, "num_pages": 50},
    )
    checkpoints.load(found)
    assert torch.equal(model.weight, weights)
    assert torch.equal(optimizer.state[model.weight]["exp_avg"], moments)


def test_what_fails_before_the_write_is_said_to_all(accelerator: Accelerator, tmp_path: Path) -> None:
    """The random numbers of every rank are written first; a full disk ended the others with a traceback."""
    checkpoints, _, _ = make(accelerator, tmp_path)
    accelerator._save_model_state_pre_hook["full"] = full_disk
    try:
        with pytest.raises(TrainError, match=r"a checkpoint could not be written:\nrank 0: OSError: .*No space left"):
            save(checkpoints, 5)
    finally:
        del accelerator._save_model_state_pre_hook["full"]


def full_disk(*state: object) -> None:
    raise OSError(28, "No space left on device")


def test_weights_in_another_form_are_refused(accelerator: Accelerator, tmp_path: Path) -> None:
    checkpoints, _, _ = make(accelerator, tmp_path)
    path = save(checkpoints, 5)
    checkpoints.check(read_checkpoint(path))
    for name, found in (("adapter_model.safetensors", "an adapter"), ("pytorch_model_fsdp_0", "shards of FSDP")):
        (path / name).touch()
        with pytest.raises(TrainError, match=rf"step-00000005 holds {found}, and this start reads all weights"):
            checkpoints.check(read_checkpoint(path))


def test_only_the_newest_are_kept(accelerator: Accelerator, tmp_path: Path) -> None:
    checkpoints, _, _ = make(accelerator, tmp_path, keep=2)
    for step in (5, 10, 15):
        save(checkpoints, step)
    folder = tmp_path / "checkpoints"
    assert [path.name for path in list_checkpoints(folder)] == ["step-00000015", "step-00000010"]
    assert sorted(path.name for path in folder.iterdir()) == ["step-00000010", "step-00000015"]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: (path / "optimizer.bin").unlink(), r"optimizer.bin: expected .*, found no file"),
        (lambda path: (path / "model.safetensors").write_bytes(b"short"), r"model.safetensors: expected .*'bytes': 5"),
        (lambda path: flip(path / "model.safetensors"), r"model.safetensors: expected .*crc32"),
        (lambda path: (path / "manifest.json").unlink(), r"manifest.json: cannot be read"),
        (lambda path: (path / "manifest.json").write_text("{"), r"manifest.json: cannot be read"),
        (lambda path: (path / "stream.json").write_text("{}"), r"stream.json: expected"),
    ],
)
def test_damaged_ones_are_passed_over(accelerator: Accelerator, tmp_path: Path, damage: Any, message: str) -> None:
    checkpoints, _, _ = make(accelerator, tmp_path)
    save(checkpoints, 5)
    damage(save(checkpoints, 10))
    found, messages = checkpoints.newest()
    assert found is not None and found.step == 5
    assert len(messages) == 1
    with pytest.raises(TrainError, match=message):
        read_checkpoint(tmp_path / "checkpoints" / "step-00000010")
    save(checkpoints, 10)  # the run comes here again and replaces it
    assert read_checkpoint(tmp_path / "checkpoints" / "step-00000010").step == 10


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def test_no_whole_checkpoint_is_an_error_not_a_fresh_start(accelerator: Accelerator, tmp_path: Path) -> None:
    checkpoints, _, _ = make(accelerator, tmp_path)
    flip(save(checkpoints, 5) / "model.safetensors")
    with pytest.raises(TrainError, match=r"passed over\n.*no checkpoint is whole; restore one, or remove the folder"):
        checkpoints.newest()


def test_leftovers_of_a_kill_are_removed_and_not_taken(tmp_path: Path) -> None:
    for name in ("step-00000005.tmp", "step-00000001.deleted"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "manifest.json").write_text("{}")
    assert find_newest(tmp_path) == (None, [])
    assert list(tmp_path.iterdir()) == []
    assert find_newest(tmp_path / "absent") == (None, [])


def test_shards_of_another_start_are_refused(accelerator: Accelerator, tmp_path: Path) -> None:
    checkpoints, _, _ = make(accelerator, tmp_path)
    found = read_checkpoint(save(checkpoints, 5))
    checkpoints.check(found)
    checkpoints.check(replace(found, world_size=2))  # without shards any world continues
    with pytest.raises(TrainError, match="written under DeepSpeed's ZeRO-2, and this start is without DeepSpeed"):
        checkpoints.check(replace(found, zero_stage=2))


def test_manifest_of_another_version_is_named(accelerator: Accelerator, tmp_path: Path) -> None:
    checkpoints, _, _ = make(accelerator, tmp_path)
    path = save(checkpoints, 5)
    (path / "manifest.json").write_text('{"version": 99}')
    with pytest.raises(TrainError, match="manifest version 1 expected, found 99"):
        read_checkpoint(path)
