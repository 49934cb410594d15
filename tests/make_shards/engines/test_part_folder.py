"""Several parts at one output: each alone with its own, together with others, never with a whole job."""

from pathlib import Path

import pytest

from wdstream.errors import ConfigError
from wdstream.make_shards import manifest
from wdstream.make_shards.engines.part_folder import remove_debris_of
from wdstream.make_shards.manifest import locked
from wdstream.make_shards.record import STATE_FOLDER
from wdstream.storage.engines.part import WorkPart
from wdstream.storage.engines.part_locks import number_of_parts

FIRST, SECOND = WorkPart(number=1, of=2), WorkPart(number=2, of=2)


@pytest.fixture(autouse=True)
def without_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manifest, "_LOCK_WAIT_S", 0.0)


def test_two_parts_at_once(tmp_path: Path) -> None:
    with locked(tmp_path, FIRST) as first, locked(tmp_path, SECOND) as second:
        assert len({*first, *second}) == 4
    with locked(tmp_path):
        pass


def test_one_part_twice_is_refused(tmp_path: Path) -> None:
    with (
        locked(tmp_path, FIRST),
        pytest.raises(ConfigError, match="part 1/2 is being made there"),
        locked(tmp_path, FIRST),
    ):
        pass


def test_a_whole_job_next_to_a_part_is_refused(tmp_path: Path) -> None:
    for mine, other in ((FIRST, None), (None, FIRST)):
        with locked(tmp_path, mine), pytest.raises(ConfigError, match="another make-shards"), locked(tmp_path, other):
            pass


def test_another_number_of_parts_is_refused_while_others_are_at_work(tmp_path: Path) -> None:
    other = WorkPart(number=2, of=3)
    with locked(tmp_path, FIRST), pytest.raises(ConfigError, match="in 2 parts by others"), locked(tmp_path, other):
        pass
    with locked(tmp_path, other):
        assert number_of_parts([tmp_path / STATE_FOLDER]) == 3


def test_only_what_is_ones_own_is_removed(tmp_path: Path) -> None:
    state = tmp_path / STATE_FOLDER
    state.mkdir()
    names = [
        "shard-00000{}.tar.tmp",
        f"{STATE_FOLDER}/kept-00000{{}}-00000-0000001",
        f"{STATE_FOLDER}/shard-00000{{}}.json.tmp",
    ]
    for number in range(4):
        for name in names:
            (tmp_path / name.format(number)).touch()
    (tmp_path / "shard-000000.tar").touch()
    (state / "survey.jsonl.tmp").touch()
    remove_debris_of(tmp_path, FIRST)
    left = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    theirs = {name.format(number) for number in (1, 3) for name in names}
    assert left == theirs | {"shard-000000.tar", f"{STATE_FOLDER}/survey.jsonl.tmp"}
