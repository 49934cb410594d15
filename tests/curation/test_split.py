"""Holding pages out of an index that is there: by whole documents, kept as pages come, whole at every moment."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.helpers.command import run
from tests.helpers.fake_shards import entry, fake_image, pages, write_shard, write_shards
from tests.helpers.paths import ROOT
from wdstream.curation.split import Copies, SplitReport, find_copies, split_shards
from wdstream.curation.split_options import SplitOptions
from wdstream.errors import ConfigError, ShardError, ShardIndexError
from wdstream.shards.index import merge_index
from wdstream.shards.reader import Shards
from wdstream.shards.token_columns import write_token_column
from wdstream.verify.index_check import check_folder, check_index

NAME = "ab" * 8


def books(*names: str, each: int = 3) -> dict[str, dict[str, bytes]]:
    """Pages `NAME_p1`, ... of each book."""
    return {
        f"{name}_p{page}": {"jpg": fake_image(10, 20, name.encode()), "txt": f"{name} {page}".encode()}
        for name in names
        for page in range(1, each + 1)
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = write_shards(tmp_path / "shards", {"s-0.tar": books(*"abcdef"), "s-1.tar": books(*"ghijkl")})
    merge_index(folder)
    write_token_column(folder, NAME, range(36))
    return folder


def split(folder: Path, holdout: str | None = None, **options: object) -> SplitReport:
    return split_shards(folder, SplitOptions.of({"holdout": holdout, **options}))


def held_out(folder: Path) -> set[str]:
    shards = Shards.open(folder)
    assert shards.held_out is not None
    return {shards.key(row) for row in np.flatnonzero(shards.held_out).tolist()}


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_whole_documents_are_held_out_and_no_shard_changes(folder: Path) -> None:
    before = files(folder)
    report = split(folder, "7")
    assert report.counts is not None
    assert (report.counts.pages, report.counts.documents, report.counts.all_documents) == (9, 3, 12)
    held = held_out(folder)
    assert len(held) == 9 and len({key[0] for key in held}) == 3
    after = files(folder)
    new = {name for name in after if name not in before}
    assert {name.partition(".")[0] for name in new} == {"index/held_out", "index/split"}
    assert [name for name in before if before[name] != after[name]] == ["index/index.json"]
    assert Shards.open(folder).tokens(NAME).tolist() == list(range(36))
    assert not check_index(folder).findings and not check_folder(folder, check_index(folder))[1]
    split(folder, remove=True)
    assert files(folder) == before


@pytest.mark.parametrize("asked", ["20%", "7"])
def test_pages_that_are_added_go_by_the_rule_and_move_none(folder: Path, asked: str) -> None:
    split(folder, asked)
    rule, held = Shards.open(folder).catalog.split, held_out(folder)
    more = books(*(f"x{number}" for number in range(40))) | {"a_p9": books("a")["a_p1"]}
    write_shard(folder / "s-2.tar", more)
    report = merge_index(folder)
    assert report.held_out is not None and report.catalog.split == rule
    now = held_out(folder)
    assert now & {key for shard in (books(*"abcdef"), books(*"ghijkl")) for key in shard} == held
    assert ("a_p9" in now) == ("a_p1" in held)
    assert held < now
    other_order = write_shards(folder.parent / "other", {"s-0.tar": more, "s-1.tar": books(*"ghijkl")})
    write_shard(other_order / "s-2.tar", books(*"abcdef"))
    merge_index(other_order)
    if asked.endswith("%"):
        split(other_order, asked)
        assert held_out(other_order) == now  # whatever the order


def test_the_same_request_changes_nothing_and_another_says_what_moves(folder: Path) -> None:
    split(folder, "7")
    before, held = files(folder), held_out(folder)
    assert split(folder, "7").now_held_out == 0
    assert split(folder).counts == split(folder, "7").counts
    assert files(folder) == before
    more = split(folder, "13")
    assert (more.now_held_out, more.now_trained_on) == (6, 0)
    assert held < held_out(folder)
    assert split(folder, remove=True).now_trained_on == 15
    assert split(folder).counts is None
    assert len(list((folder / "index").glob("held_out*"))) == 0


@pytest.mark.parametrize("damage", ["index.json", "absent", "column", "split.json"])
def test_the_rule_outlives_damage(folder: Path, damage: str) -> None:
    split(folder, "7")
    held, index = held_out(folder), folder / "index"
    if damage == "index.json":
        (index / "index.json").write_bytes(b"{")
    elif damage == "absent":
        (index / "index.json").unlink()
    elif damage == "split.json":
        (index / "split.json").write_bytes(b"{")
    else:
        (column,) = index.glob("held_out.*")
        column.write_bytes(column.read_bytes()[:-1] + b"\x02")
        with pytest.raises(ShardIndexError, match=r"held_out\.[0-9a-f]{16}\.npy .* is damaged in rows 0 to 35"):
            _ = Shards.open(folder).held_out
    merge_index(folder)
    assert held_out(folder) == held
    assert json.loads((index / "split.json").read_bytes())["asked"] == "7"


def test_without_any_index_a_damaged_rule_is_an_error(folder: Path) -> None:
    split(folder, "7")
    (folder / "index" / "index.json").unlink()
    (folder / "index" / "split.json").write_bytes(b'{"asked": "7"}')
    with pytest.raises(ShardIndexError, match=r"split\.json says which pages are held out, and is damaged"):
        merge_index(folder)


def test_tars_that_are_not_those_of_the_index_are_refused(folder: Path) -> None:
    write_shard(folder / "s-1.tar", books(*"ghijkm"))
    with pytest.raises(ShardIndexError, match=r"s-1\.tar is not what the index lists: run `wdstream index"):
        split(folder, "7")
    (folder / "s-1.tar").unlink()
    with pytest.raises(ShardError, match=r"s-1\.tar missing"):
        split(folder, "7")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"holdout": "99"}, "every page would be held out, of 36 pages in 12 documents: ask for fewer"),
        ({"holdout": "0.000000001%"}, "no page would be held out"),
        ({"holdout": "7", "by": "doc_id"}, "no page of .*shards has metadata of this name"),
        ({"holdout": "7", "remove": True}, "--remove holds nothing out any more"),
        ({"by": "page"}, "give --holdout, too"),
        ({"holdout": "7", "seed": -1}, "seed"),
    ],
)
def test_what_cannot_be_leaves_the_index_as_it_is(folder: Path, options: dict[str, object], message: str) -> None:
    split(folder, "4")
    before = files(folder)
    with pytest.raises(ConfigError, match=message):
        split_shards(folder, SplitOptions.of(options))
    assert files(folder) == before


def test_copies_on_two_sides_are_named(tmp_path: Path) -> None:
    page = {"jpg": fake_image(30, 40, b"the same"), "txt": b"the same text"}
    other = {"jpg": fake_image(30, 40, b"another!"), "txt": b"the same size"}
    shards = {"s-0.tar": {f"copy{letter}": page for letter in "abcdefgh"} | {"lone": other}}
    folder = write_shards(tmp_path / "shards", shards)
    merge_index(folder)
    report = split(folder, "3", by="page")
    assert report.copies is not None and report.copies.compared == 9
    held = {key for key in held_out(folder) if key != "lone"}
    assert {pair[0] for pair in report.copies.pairs} == held
    assert all(trained not in held for _, trained in report.copies.pairs)
    assert "held-out pages have a copy that is trained on (copy" in next(report.copies.lines(folder))
    assert split(folder, "3", by="page", copies=False).copies is None


def test_pages_that_differ_in_size_are_not_read(tmp_path: Path) -> None:
    folder = write_shards(tmp_path / "shards", {"s-0.tar": pages("a", 30)})
    merge_index(folder)
    report = split(folder, "5", by="page")
    assert report.copies == Copies()
    nothing = find_copies(Shards.open(folder), np.zeros(30, np.uint8))
    assert nothing == Copies()


def test_the_command(folder: Path) -> None:
    done = run("split", str(folder), "--holdout", "7")
    assert done.returncode == 0, done.stderr
    assert "held out (7 by name): 9 of 36 pages (25.00 %), 3 of 12 documents" in done.stdout
    assert run("split", str(folder), "--holdout", "two").returncode == 2


SCRIPT = """
import shutil, sys
from pathlib import Path
from wdstream.curation.split import split_shards
from wdstream.curation.split_options import SplitOptions
from wdstream.errors import ShardIndexError
from wdstream.shards.index import merge_index
from wdstream.shards.reader import Shards
from tests.curation.test_split import books
from tests.helpers.fake_shards import write_shard
from tests.helpers.kills import killed

base = Path(sys.argv[1])
WORK = {
    "first": lambda folder: split_shards(folder, SplitOptions(holdout="7")),
    "other": lambda folder: split_shards(folder, SplitOptions(holdout="30%", copies=False)),
    "remove": lambda folder: split_shards(folder, SplitOptions(remove=True)),
    "added": merge_index,
}

def look(folder):
    try:
        shards = Shards.open(folder)
        return None if shards.held_out is None else shards.held_out.tolist()
    except ShardIndexError as error:
        assert sys.argv[2] == "added" and "run `wdstream index" in str(error), error
        return "no index"

start, work = base / "start", WORK[sys.argv[2]]
if sys.argv[2] != "first":
    WORK["first"](start)
if sys.argv[2] == "added":
    write_shard(start / "s-2.tar", books(*"mnopqr"))
clean = base / "clean"
shutil.copytree(start, clean)
work(clean)
seen, moment, states = [], 1, [look(start), look(clean)]
while True:
    folder = base / f"killed-{moment}"
    shutil.copytree(start, folder)
    if not killed(folder, work, moment):
        break
    seen.append(look(folder))
    assert seen[-1] in [*states, "no index"], (moment, seen[-1])
    work(folder)
    assert look(folder) == states[1], moment
    moment += 1
print(len(seen), states[0] in seen, states[1] in seen)
"""


@pytest.mark.parametrize(
    ("case", "kills"),
    [
        ("other", 7),
        pytest.param("first", 6, marks=pytest.mark.slow),
        pytest.param("remove", 4, marks=pytest.mark.slow),
        pytest.param("added", 25, marks=pytest.mark.slow),
    ],
)
def test_killed_at_every_moment_the_index_is_the_old_one_or_the_new(folder: Path, case: str, kills: int) -> None:
    shutil.move(folder, folder.parent / "start")
    command = [sys.executable, "-c", SCRIPT, str(folder.parent), case]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    count, was_old, _ = done.stdout.split()
    assert int(count) >= kills
    assert was_old == "True"


def test_copies_of_pages_that_cannot_be_read_are_none(tmp_path: Path) -> None:
    image = fake_image(3, 4)
    samples = {key: {"jpg": image, "txt": b"x"} for key in ("one", "two", "three", "four")}
    folder = write_shards(tmp_path / "shards", {"s-0.tar": samples})
    assert entry(samples["one"]).image_sizes == ((3, 4),)
    merge_index(folder)
    shards = Shards.open(folder)
    tar = folder / "s-0.tar"
    data = bytearray(tar.read_bytes())
    data[int(shards.offset[0]) + 513] ^= 1
    tar.write_bytes(data)
    found = find_copies(Shards.open(folder), np.array([1, 0, 0, 1], np.uint8))
    assert [pair[0] for pair in found.pairs] == ["four"]
