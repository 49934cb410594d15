"""wdstream/raw/folder_state.py: a folder that is as it was has the same state, and any change another one."""

import os
from pathlib import Path

from wdstream.raw.folder_state import folder_state
from wdstream.raw.listing import list_files


def state(raw: Path) -> str:
    return folder_state(raw, exclude=raw / "out", allow_outside_links=False)


def test_every_change_is_seen(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    for name in ("a/1.jpg", "a/1.txt", "2.jpg"):
        (tmp_path / name).write_text("as it was")
    states = [state(tmp_path)]
    assert list_files(tmp_path, exclude=tmp_path / "out").state == states[0] == state(tmp_path)
    (tmp_path / "out").mkdir()
    (tmp_path / "out/shard-000000.tar").write_text("of this job")
    assert state(tmp_path) == states[0]

    os.utime(tmp_path / "a/1.txt", ns=(1, 1))
    states.append(state(tmp_path))
    (tmp_path / "a/1.txt").write_text("other words")
    states.append(state(tmp_path))
    (tmp_path / "a/1.jpg").rename(tmp_path / "a/3.jpg")
    states.append(state(tmp_path))
    (tmp_path / "b.jpg").symlink_to("nowhere")
    states.append(state(tmp_path))
    (tmp_path / "2.jpg").unlink()
    states.append(state(tmp_path))
    assert len({*states}) == len(states)
