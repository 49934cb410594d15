"""Which checkpoints stay, for any steps and settings; the manifest, put together of what each rank measured."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wdstream.errors import TrainError
from wdstream.runs.checkpoint import (
    Checkpoint,
    Measures,
    Retention,
    begin_checkpoint,
    checkpoint_path,
    finish_checkpoint,
    list_checkpoints,
    measure_own_files,
    partial_path,
    read_checkpoint,
)

STEPS = st.sets(st.integers(1, 60), min_size=1)


@given(STEPS, st.integers(1, 5), st.none() | st.integers(1, 9), st.none() | st.integers(1, 60))
def test_what_is_removed(steps: set[int], newest: int, every: int | None, best: int | None) -> None:
    keep = Retention(newest=newest, every=every, best=best)
    removed = set(keep.removed(steps))
    kept = steps - removed
    milestones = {step for step in steps if every is not None and step % every == 0}
    assert milestones <= kept and steps & {best} <= kept
    others = sorted(steps - milestones - {best}, reverse=True)
    assert kept - milestones - {best} == {*others[:newest]}
    assert max(steps) in kept
    assert not keep.removed(kept)


@given(STEPS, st.integers(1, 5), st.none() | st.integers(1, 9))
def test_removed_as_they_come(steps: set[int], newest: int, every: int | None) -> None:
    """A run that removes after each save keeps what one would that removes once at the end."""
    keep, there = Retention(newest=newest, every=every), set[int]()
    for step in sorted(steps):
        there.add(step)
        there -= {*keep.removed(there)}
    assert there == steps - {*keep.removed(steps)}


def written(path: Path, *names: str) -> Path:
    """The partial folder of a checkpoint, with files in it."""
    begin_checkpoint(path)
    for name in names:
        file = partial_path(path) / name
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(name.encode())
    return path


def sealed(path: Path, step: int, *, keep: int = 3, ranks: int = 1) -> None:
    measured = [measure_own_files(path, rank) for rank in range(ranks)]
    checkpoint = Checkpoint(path=path, step=step, world_size=ranks, zero_stage=None, stream={}, trainer={})
    finish_checkpoint(checkpoint, measured=measured, keep=Retention(newest=keep))


NAMES = ("model.safetensors", "random_states_0.pkl", "random_states_12.pkl", "dcp/__1_0.distcp", "dcp/.metadata")
SHARDS = ("zero/bf16_zero_pp_rank_1_mp_rank_00_optim_states.pt", "zero/mp_rank_00_model_states.pt")


def test_each_rank_measures_what_it_wrote(tmp_path: Path) -> None:
    path = written(checkpoint_path(tmp_path, 5), *NAMES, *SHARDS)
    assert set(measure_own_files(path, 12)) == {"random_states_12.pkl"}
    assert set(measure_own_files(path, 1)) == {"dcp/__1_0.distcp", SHARDS[0]}
    assert set(measure_own_files(path, 0)) == {NAMES[0], NAMES[1], NAMES[4], SHARDS[1]}
    sealed(path, 5, ranks=2)  # rank 12's file is then measured by the main process
    assert read_checkpoint(path).world_size == 2


def test_a_file_that_the_main_process_does_not_see_is_an_error(tmp_path: Path) -> None:
    path = written(checkpoint_path(tmp_path, 5), "random_states_0.pkl")
    checkpoint = Checkpoint(path=path, step=5, world_size=2, zero_stage=None, stream={}, trainer={})
    measured: list[Measures] = [measure_own_files(path, 0), {"random_states_1.pkl": {"bytes": 1, "crc32": 1}}]
    with pytest.raises(TrainError, match=r"random_states_1.pkl: written by another process, and not there"):
        finish_checkpoint(checkpoint, measured=measured, keep=Retention(newest=1))


def test_a_later_one_that_was_passed_over_does_not_count(tmp_path: Path) -> None:
    """Else the checkpoint that was just written would be the old one that goes."""
    for step in (5, 10, 7):
        sealed(written(checkpoint_path(tmp_path, step), "model.safetensors"), step, keep=1)
    (tmp_path / "step-00000007-copy").mkdir()  # of a person, who keeps it there
    assert [path.name for path in list_checkpoints(tmp_path)] == ["step-00000010", "step-00000007"]
