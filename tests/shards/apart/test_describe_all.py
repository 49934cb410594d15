"""Tars described by other machines: the bytes that a description here writes, or the same troubles."""

from pathlib import Path

from tests.helpers.fake_shards import measure, pages, write_shards
from wdstream.shards.apart.describe_all import TarToDescribe, describe_all, describe_task
from wdstream.shards.describe import PLAIN_TAR
from wdstream.shards.layout import ShardPaths


def bare_tar(folder: Path) -> Path:
    """A tar that nothing describes."""
    write_shards(folder, {"a.tar": pages("a", 4)})
    paths = ShardPaths.of(folder / "a.tar")
    paths.idx.unlink()
    paths.meta.unlink()
    return paths.tar


def elsewhere(tar: Path) -> tuple[tuple[str, ...], bytes, bytes]:
    task = TarToDescribe(tar=tar, known=frozenset(), elsewhere=None)
    found = describe_task(task, image_size=measure, rules=PLAIN_TAR, described_in=None, is_here=False)
    return found.troubles, found.idx, found.meta


def test_what_comes_back_is_what_is_written_here(tmp_path: Path) -> None:
    tar = bare_tar(tmp_path)
    found = elsewhere(tar)
    assert [path.name for path in tmp_path.iterdir()] == [tar.name]
    assert [troubles for _, troubles in describe_all([tar], measure, 1)] == [()]
    paths = ShardPaths.of(tar)
    assert found == ((), paths.idx.read_bytes(), paths.meta.read_bytes())


def test_troubles_come_back_as_they_are_here(tmp_path: Path) -> None:
    tar = bare_tar(tmp_path)
    tar.write_bytes(tar.read_bytes()[:2000])
    troubles, idx, meta = elsewhere(tar)
    assert troubles and not idx and not meta
    assert [of for _, of in describe_all([tar], measure, 1)] == [troubles]
