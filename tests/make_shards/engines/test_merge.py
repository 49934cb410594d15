"""Parts and their merge: the bytes of a single run, or a word of what is missing and whose it is."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.helpers.jobs import Tree
from wdstream.errors import ConfigError, ShardError
from wdstream.make_shards import MakeShardsOptions, make_part, make_shards
from wdstream.make_shards.record import STATE_FOLDER

OPTIONS = MakeShardsOptions(pages_per_shard=3, holdout="3", workers=1)
TreeOf = Callable[[Path], Tree]


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory, small_raw: Path) -> list[Path]:
    """Three parts, each in a folder of its own."""
    places = [tmp_path_factory.mktemp("parts") / f"p{number}" for number in (1, 2, 3)]
    for number, place in enumerate(places, start=1):
        make_part(small_raw, place, options=OPTIONS.replace(part=f"{number}/3"))
    return places


def merging(*places: Path) -> MakeShardsOptions:
    return OPTIONS.replace(merge=True, merge_from=tuple(map(str, places)))


def test_parts_in_folders_of_their_own(
    tmp_path: Path, small_raw: Path, parts: list[Path], whole: Tree, tree_of: TreeOf
) -> None:
    before = [tree_of(place) for place in parts]
    report = make_shards(small_raw, tmp_path / "out", options=merging(*parts))
    assert tree_of(tmp_path / "out") == whole
    assert report.pages_made == 0
    assert [tree_of(place) for place in parts] == before


def test_parts_on_one_folder(tmp_path: Path, small_raw: Path, whole: Tree, tree_of: TreeOf) -> None:
    out = tmp_path / "out"
    reports = [make_part(small_raw, out, options=OPTIONS.replace(part=f"{number}/2")) for number in (2, 1)]
    assert sum(report.num_shards for report in reports) == len([name for name in whole if name.endswith(".tar")])
    assert not (out / "index").exists() and not (out / "quarantine.jsonl").exists()
    make_shards(small_raw, out, options=merging())
    assert tree_of(out) == whole


def test_what_is_missing_is_named_with_its_part(tmp_path: Path, small_raw: Path, parts: list[Path]) -> None:
    with pytest.raises(ShardError, match=r"2 of \d shards are missing.*: 000001, 000004; run --part 2/3 again"):
        make_shards(small_raw, tmp_path / "out", options=merging(parts[0], parts[2]))
    assert not (tmp_path / "out/index").exists()


def test_a_damaged_shard_is_missing(
    tmp_path: Path, small_raw: Path, parts: list[Path], whole: Tree, tree_of: TreeOf
) -> None:
    cut, out = tmp_path / "cut", tmp_path / "out"
    shutil.copytree(parts[1], cut)
    tar = cut / "shard-000004.tar"
    tar.write_bytes(tar.read_bytes()[:-512])
    with pytest.raises(ShardError, match=r"are missing.*: 000004; run --part 2/3 again"):
        make_shards(small_raw, out, options=merging(parts[0], cut, parts[2]))
    make_part(small_raw, cut, options=OPTIONS.replace(part="2/3"))
    make_shards(small_raw, out, options=merging(cut))
    assert tree_of(out) == whole


def test_without_merge_the_rest_is_made_here(
    tmp_path: Path, small_raw: Path, parts: list[Path], whole: Tree, tree_of: TreeOf
) -> None:
    shutil.copytree(parts[0], tmp_path / "out")
    make_shards(small_raw, tmp_path / "out", options=OPTIONS)
    assert tree_of(tmp_path / "out") == whole


def test_a_part_of_another_job_is_refused(tmp_path: Path, small_raw: Path, parts: list[Path]) -> None:
    make_part(small_raw, tmp_path / "other", options=OPTIONS.replace(part="99/99", dpi=72))
    with pytest.raises(ShardError, match=r"is of another job than .*: options.dpi is 72 there, 150 expected; merge"):
        make_shards(small_raw, tmp_path / "out", options=merging(parts[0], tmp_path / "other"))
    with pytest.raises(ShardError, match="no part of a job was written there"):
        make_shards(small_raw, tmp_path / "out", options=merging(tmp_path / "nothing"))


def test_the_wrong_function_says_which(tmp_path: Path, small_raw: Path) -> None:
    with pytest.raises(ConfigError, match="make_part makes a part"):
        make_shards(small_raw, tmp_path / "out", options=OPTIONS.replace(part="1/2"))
    with pytest.raises(ConfigError, match="make_shards does the whole"):
        make_part(small_raw, tmp_path / "out", options=OPTIONS)
    assert not (tmp_path / "out" / STATE_FOLDER).exists()
