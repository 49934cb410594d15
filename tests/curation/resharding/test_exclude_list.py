"""Lists of pages to leave out: which lines name a page, and that none is without effect unseen."""

import json
import shutil
from pathlib import Path

import pytest
import webdataset

from tests.helpers.mixed_shards import small_image, write_mixed
from wdstream.curation.resharding.choice import choose, open_inputs
from wdstream.curation.resharding.exclude_list import excluded
from wdstream.curation.resharding.reshard import ReshardReport, reshard
from wdstream.curation.resharding.reshard_options import ReshardOptions
from wdstream.errors import ConfigError
from wdstream.make_shards import index_folder


def run(inputs: list[Path], folder: Path, text: str) -> ReshardReport:
    (folder / "list").write_bytes(text.encode())
    shutil.rmtree(folder / "out", ignore_errors=True)
    return reshard(inputs, folder / "out", options=ReshardOptions(workers=1, exclude_list=str(folder / "list")))


def test_lines_that_name_no_page_are_said(tmp_path: Path) -> None:
    source = write_mixed(tmp_path / "in", count=9)
    report = run([source], tmp_path, "\ufeffa/p0000\r\nb/p0000\n")
    assert report.num_pages == 8
    assert report.notes[0] == f"{tmp_path}/list: 1 of its 2 lines name no page of these folders ('b/p0000', ...)"
    assert run([source], tmp_path, "").num_pages == 9
    of_before = json.dumps({"key": "a/p0000", "shards": "0" * 32}) + "\n"
    for text in ("A/p0000\n", of_before):
        with pytest.raises(
            ConfigError, match=r"none of its 1 lines names a page of these folders .*before they changed"
        ):
            run([source], tmp_path, text)


def test_a_key_may_hold_what_python_takes_for_an_end_of_line(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    with webdataset.TarWriter(str(tmp_path / "in/a.tar")) as writer:
        for number in range(3):
            writer.write({"__key__": f"a\u2028{number}", "jpg": small_image(number, "jpg"), "txt": "text"})
    index_folder(tmp_path / "in", workers=1)
    assert excluded_pages(tmp_path / "in", "a\u20281\n", tmp_path) == [False, True, False]


def excluded_pages(folder: Path, text: str, work: Path) -> list[bool]:
    (work / "list").write_text(text)
    found: list[bool] = excluded(choose(open_inputs([folder])), work / "list")[0].tolist()
    return found


def test_a_copy_of_a_folder_is_refused(tmp_path: Path) -> None:
    """A line of the list names its folder by what is in it, and would leave out both."""
    source = write_mixed(tmp_path / "in", count=9)
    shutil.copytree(source, tmp_path / "copy")
    with pytest.raises(ConfigError, match=r"copy is a copy of .*/in: its pages would be doubled"):
        run([source, tmp_path / "copy"], tmp_path, "")
