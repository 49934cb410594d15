"""Parts of reshard and their merge: the bytes of one run."""

from pathlib import Path

import pytest

from tests.helpers.mixed_shards import tree_of, write_mixed
from wdstream.curation.resharding.reshard import reshard, reshard_part
from wdstream.curation.resharding.reshard_options import ReshardOptions
from wdstream.errors import ConfigError, ShardError

OPTIONS = ReshardOptions(pages=6, shuffle=True, uniform=True, workers=1)


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_mixed(tmp_path_factory.mktemp("given") / "in", count=40, per_shard=12)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, given: Path) -> dict[str, str]:
    out = tmp_path_factory.mktemp("whole") / "out"
    reshard([given], out, options=OPTIONS)
    return tree_of(out, ["workers"])


def test_parts_in_folders_of_their_own(tmp_path: Path, given: Path, whole: dict[str, str]) -> None:
    places = [tmp_path / f"p{number}" for number in (1, 2, 3)]
    for number, place in enumerate(places, start=1):
        done = reshard_part([given], place, options=OPTIONS.replace(part=f"{number}/3"))
        assert done.num_shards in (2, 3) and done.num_pages <= 18
    lacking = OPTIONS.replace(merge_from=(str(places[0]), str(places[2])))
    with pytest.raises(ShardError, match=r"of 7 shards are missing.*: 000001, 000004; run --part 2/3 again"):
        reshard([given], tmp_path / "out", options=lacking)
    reshard([given], tmp_path / "out", options=OPTIONS.replace(merge_from=tuple(map(str, places))))
    assert tree_of(tmp_path / "out", ["workers"]) == whole


def test_parts_on_one_folder(tmp_path: Path, given: Path, whole: dict[str, str]) -> None:
    for number in (2, 1):
        reshard_part([given], tmp_path / "out", options=OPTIONS.replace(part=f"{number}/2"))
    assert not (tmp_path / "out/index").exists()
    reshard([given], tmp_path / "out", options=OPTIONS.replace(merge=True))
    assert tree_of(tmp_path / "out", ["workers"]) == whole


def test_what_is_of_another_job_is_refused(tmp_path: Path, given: Path) -> None:
    reshard_part([given], tmp_path / "other", options=OPTIONS.replace(part="1/2", seed=7))
    for place, why in ((tmp_path / "other", "is of another job"), (tmp_path, "no part of a reshard was written there")):
        with pytest.raises(ShardError, match=why):
            reshard([given], tmp_path / "out", options=OPTIONS.replace(merge_from=(str(place),)))


def test_the_wrong_function_says_which(tmp_path: Path, given: Path) -> None:
    with pytest.raises(ConfigError, match="reshard_part makes a part"):
        reshard([given], tmp_path / "out", options=OPTIONS.replace(part="1/2"))
    with pytest.raises(ConfigError, match="reshard does the whole"):
        reshard_part([given], tmp_path / "out", options=OPTIONS)
