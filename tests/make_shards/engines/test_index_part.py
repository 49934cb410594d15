"""Tars described by parts, then merged: the files of a whole run; what parts cannot do is refused before anything."""

import io
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from tests.helpers import command
from tests.helpers.fake_shards import write_shards
from tests.helpers.jobs import Tree
from tests.helpers.s3_server import S3Server
from tests.helpers.stores import files_of, send
from wdstream.errors import ConfigError, ShardError
from wdstream.make_shards import index_folder, index_part
from wdstream.shards.apart import set_folder
from wdstream.shards.reader import Shards
from wdstream.storage.engines.part import WorkPart
from wdstream.storage.places import open_place
from wdstream.storage.writes.one_job import LEASE

TreeOf = Callable[[Path], Tree]
FIRST, SECOND = WorkPart(number=1, of=2), WorkPart(number=2, of=2)


def bare(folder: Path) -> Path:
    """Three tars of texts that nothing describes."""
    texts = {f"{name}.tar": {f"{name}/{n}": {"txt": b"text"} for n in range(3)} for name in "abc"}
    write_shards(folder, texts)
    for path in [*folder.glob("*.idx"), *folder.glob("*.npz")]:
        path.unlink()
    return folder


def test_parts_and_then_the_whole(tmp_path: Path, tree_of: TreeOf) -> None:
    whole, parts = bare(tmp_path / "whole"), bare(tmp_path / "parts")
    index_folder(whole, workers=1)
    reports = [index_part(parts, part, workers=1) for part in (SECOND, FIRST, FIRST)]
    assert [(report.num_described, report.num_shards) for report in reports] == [(1, 1), (2, 2), (0, 2)]
    assert not (parts / "index").exists()
    metas = {path.name: path.stat().st_ino for path in parts.glob("*.npz")}
    index_folder(parts, workers=1)
    assert {path.name: path.stat().st_ino for path in parts.glob("*.npz")} == metas
    assert tree_of(parts) == tree_of(whole)
    console = Console(file=io.StringIO(), width=200)
    reports[0].print(console)
    assert "part 2/2: 1 of its 1 shards" in console.file.getvalue()  # type: ignore[attr-defined]


def test_a_broken_tar_of_a_part_is_named(tmp_path: Path) -> None:
    folder = bare(tmp_path / "x")
    shutil.copy(folder / "a.tar", folder / "c.tar")
    (folder / "a.tar").write_bytes((folder / "a.tar").read_bytes()[:2000])
    with pytest.raises(ShardError, match=r"1 of 2 tars cannot be indexed"):
        index_part(folder, FIRST, workers=1)
    assert not (folder / "a.meta.npz").exists() and (folder / "c.meta.npz").exists()


def test_what_parts_cannot_do(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"http:// is only read from.* --out FOLDER_OR_URL"):
        index_part("http://127.0.0.1/x", FIRST)
    folder = str(bare(tmp_path / "x"))
    for wrong, why in (
        (["--part", "3/2"], "expected a part of all, from 1/N to N/N"),
        (["--part", "1/2", "--rebuild"], "--part and --rebuild"),
        (["--part", "1/2", "--map", "text=json:caption"], "a map is given to the whole"),
    ):
        done = command.run("index", folder, *wrong)
        assert done.returncode == 2 and why in " ".join(done.stderr.split()), done


def test_a_folder_is_indexed_by_one_job_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(set_folder, "_WAIT_S", 0.0)
    folder = bare(tmp_path / "set")
    wait = r"set: another command writes the index there; wait until it has ended"
    made = list[str]()

    def part(number: WorkPart) -> None:
        index_part(folder, number, workers=1)

    def while_a_part_is_made(*_: int) -> None:
        with pytest.raises(ConfigError, match=wait):
            index_folder(folder, workers=1)
        part(SECOND)
        made.append("part")

    def while_all_is_made(*_: int) -> None:
        for other in (lambda: index_folder(folder, workers=1), lambda: part(SECOND)):
            with pytest.raises(ConfigError, match=wait):
                other()
        made.append("all")

    index_part(folder, FIRST, workers=1, on_progress=while_a_part_is_made)
    index_folder(folder, workers=1, rebuild=True, on_progress=while_all_is_made)
    assert made == ["part", "part", "all", "all", "all"]  # FIRST has two tars
    assert Shards.open(folder).catalog.num_samples == 9


def test_parts_of_tars_at_a_url(tmp_path: Path, s3_server: S3Server, bucket: str, tree_of: TreeOf) -> None:
    """Described next to the tars of a store, and elsewhere; a part that is run again reads nothing twice."""
    whole = bare(tmp_path / "whole")
    url = send(s3_server, whole, bucket, "set")
    index_folder(whole, workers=1)
    with open_place(url).hold(f"{LEASE}-{SECOND.name}", job="index"):
        for make in (lambda: index_folder(url, workers=1), lambda: index_part(url, WorkPart(number=1, of=3))):
            with pytest.raises(ConfigError, match=r"another index .* is at work there"):
                make()
        assert index_part(url, FIRST, workers=1).num_described == 2
    assert [index_part(url, part, workers=1).num_described for part in (FIRST, SECOND)] == [0, 1]
    made = s3_server.objects(bucket, "set")
    assert not any(name.startswith("index/") for name in made) and "b.meta.npz" in made
    index_folder(url, workers=1)
    assert s3_server.objects(bucket, "set") == files_of(whole)
    for part in (FIRST, SECOND):
        index_part(url, part, out=tmp_path / "apart", workers=1)
    assert sorted(path.name for path in (tmp_path / "apart").iterdir()) == [f"{name}.meta.npz" for name in "abc"]
    index_folder(url, out=tmp_path / "apart", workers=1)
    assert Shards.open(tmp_path / "apart").fingerprint == Shards.open(whole).fingerprint
