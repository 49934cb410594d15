"""Files of columns that grow by blocks: of one that was cut off whole blocks are read; other damage is an error."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers.full_disk import no_file_over
from wdstream.errors import DamagedFileError
from wdstream.runs.blocks import append_block, cut_blocks, read_blocks
from wdstream.storage.npz import Arrays

BLOCKS = [(0, 0, 1), (2, 3), (4, 4, 4, 6)]
"""Steps of the rows of each."""


def columns(steps: tuple[int, ...]) -> Arrays:
    return {"step": np.array(steps, dtype="<i8"), "loss": np.array(steps, dtype="<f4") / 3}


def write(path: Path) -> list[int]:
    """Three blocks; where each ends."""
    path.unlink(missing_ok=True)
    ends = []
    for steps in BLOCKS:
        append_block(path, columns(steps))
        ends.append(path.stat().st_size)
    return ends


def steps_in(path: Path, **limits: int) -> list[tuple[int, ...]]:
    return [tuple(block["step"].tolist()) for block in read_blocks(path, **limits)]


def test_rows_come_back_by_steps(tmp_path: Path) -> None:
    path = tmp_path / "x.blocks"
    assert steps_in(path) == []
    write(path)
    assert steps_in(path) == BLOCKS
    assert steps_in(path, first=3, last=3) == [(2, 3)]
    assert steps_in(path, first=1, last=2) == BLOCKS[:2]
    assert next(iter(read_blocks(path, first=4)))["loss"].tolist() == pytest.approx([4 / 3] * 3 + [2.0])


def test_a_disk_that_is_full_is_said_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "x.blocks"
    with no_file_over(10), pytest.raises(OSError, match="File too large") as raised:
        append_block(path, columns((0, 1)))
    assert raised.value.filename == str(path)


@given(st.data())
def test_what_is_cut_off_was_never_written(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    path = tmp_path_factory.mktemp("blocks") / "x.blocks"
    ends = write(path)
    size = data.draw(st.integers(0, ends[-1]))
    zeros = data.draw(st.integers(0, 100))
    path.write_bytes(path.read_bytes()[:size] + bytes(zeros))
    whole = BLOCKS[: sum(end <= size for end in ends)]
    assert steps_in(path) == whole
    next_step = data.draw(st.integers(0, 8))
    cut_blocks(path, next_step=next_step)
    kept = [step for block in whole for step in block if step < next_step]
    assert [step for block in steps_in(path) for step in block] == kept
    append_block(path, columns((next_step,)))
    assert [step for block in steps_in(path) for step in block] == [*kept, next_step]


@given(st.data())
def test_a_changed_byte_is_found(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    path = tmp_path_factory.mktemp("blocks") / "x.blocks"
    ends = write(path)
    place = data.draw(st.integers(0, ends[-1] - 1))
    damaged = bytearray(path.read_bytes())
    damaged[place] ^= data.draw(st.integers(1, 255))
    path.write_bytes(damaged)
    if place >= ends[1]:  # in the last block: an end that was not written
        assert steps_in(path) == BLOCKS[:2]
        return
    start = 0 if place < ends[0] else ends[0]
    with pytest.raises(DamagedFileError, match=rf"block at byte {start} is damaged"):
        steps_in(path)
    with pytest.raises(DamagedFileError):
        cut_blocks(path, next_step=99)
