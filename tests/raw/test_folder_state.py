"""wdstream/raw/folder_state.py: a folder that is as it was has the same state, and any change another one."""

import os
import tarfile
from pathlib import Path

from wdstream.pixels.header import image_size
from wdstream.raw.folder_state import folder_state
from wdstream.raw.listing import list_files
from wdstream.shards.describe import TarRules
from wdstream.shards.tar_folder import TarFolder


def state(raw: Path) -> str:
    return folder_state(raw, exclude=raw / "out", allow_outside_links=False)


def test_an_index_next_to_tars_is_no_source_of_pages(tmp_path: Path) -> None:
    (tmp_path / "t").write_text("a page")
    with tarfile.open(tmp_path / "s.tar", "w") as tar:
        for name in ("good.txt", "../up.txt"):
            tar.add(tmp_path / "t", name)
    (tmp_path / "t").unlink()
    TarFolder(tmp_path, image_size, TarRules(skip_bad=True)).index()
    assert (tmp_path / "index/left_out.jsonl").read_text()  # would be rows without a text
    found = list_files(tmp_path, exclude=tmp_path / "out")
    assert [file.path for file in found.files] == ["s.tar"]
    assert found.outputs == ("index",)


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
