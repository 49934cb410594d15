"""Stores of Azure and Google, as Azurite and fake-gcs-server speak: what is made, read, held and refused there is as in
a folder, also where answers fail. Skipped where these programs are not installed (tests/helpers/emulators.py).

Spans: make_shards, verify, shards, pipeline, storage.
"""

import os
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import unquote

import pytest

from tests.helpers.emulators import Emulator, serving_azure, serving_google
from tests.helpers.faulty_proxy import HANGS, READ_FAULTS, STORE_FAULTS, spoiling
from tests.helpers.stores import files_of
from wdstream.config.schema import Config
from wdstream.curation.resharding.reshard import reshard
from wdstream.curation.resharding.reshard_options import ReshardOptions
from wdstream.errors import AbsentBucketError, AbsentFileError, ConfigError, StorageFailureError
from wdstream.make_shards import MakeShardsOptions, index_folder, make_part, make_shards
from wdstream.runs.digest import digest
from wdstream.shards.reader import Shards
from wdstream.storage.engines.part import WorkPart
from wdstream.storage.local import ByteRange
from wdstream.storage.places import open_place
from wdstream.storage.remote import FsspecStorage
from wdstream.storage.settings import ReadSettings
from wdstream.storage.writes.fsspec_place import FsspecPlace
from wdstream.storage.writes.one_job import one_job
from wdstream.verify.job import verify_shards
from wdstream.verify.options import VerifyOptions

pytestmark = pytest.mark.filterwarnings("ignore:Sending a large body directly:ResourceWarning")  # of gcsfs
OPTIONS = MakeShardsOptions(workers=1, pages_per_shard=3)
HERE_ONLY = ("lock", "workers")
"""Files that only processes of one machine look at."""


@pytest.fixture(scope="module", params=["azure", "google"])
def emulator(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    """Such a store, running."""
    serving = serving_azure if request.param == "azure" else serving_google
    with serving(tmp_path_factory.mktemp("store") / "work") as server:
        yield server


@pytest.fixture
def url(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> str:
    """Of a new bucket."""
    emulator.use(monkeypatch)
    return emulator.make_bucket(f"b-{secrets.token_hex(6)}")


def made(folder: Path) -> dict[str, bytes]:
    """The files of a folder that a store is to have."""
    return {name: data for name, data in files_of(folder).items() if name.rpartition("/")[2] not in HERE_ONLY}


def test_a_store_gets_the_bytes_of_a_folder(
    emulator: Emulator, url: str, small_raw: Path, tmp_path: Path, tiny_model: Path
) -> None:
    options = OPTIONS.replace(tokenizer=tiny_model)
    make_shards(small_raw, tmp_path / "whole", options=options)
    make_shards(small_raw, f"{url}/some shards", options=options.replace(workers=2))
    assert emulator.objects(f"{url}/some shards") == made(tmp_path / "whole")
    first = WorkPart(number=1, of=2)
    make_part(small_raw, f"{url}/parts", options=options.replace(part=str(first)))
    again = make_shards(small_raw, f"{url}/parts", options=options)
    assert 0 < again.pages_made < again.num_pages == 13
    assert emulator.objects(f"{url}/parts") == made(tmp_path / "whole")
    assert verify_shards(f"{url}/parts", options=VerifyOptions(workers=1)).findings == []
    changed = ReshardOptions(pages=4, shuffle=True, workers=1)
    for place in (str(tmp_path / "whole"), f"{url}/parts"):
        reshard([place], f"{place}-new", options=changed)
    assert emulator.objects(f"{url}/parts-new") == made(tmp_path / "whole-new")


def test_a_restart_asks_twice_per_shard(
    emulator: Emulator, url: str, small_raw: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For its record and its meta, as on S3: the MD5 of what the meta tells of its idx is in the listing; and each
    until it comes twice the same, since it comes without TLS."""
    make_shards(small_raw, f"{url}/out", options=OPTIONS)
    with spoiling(emulator.port, rate=0) as proxy:
        emulator.use(monkeypatch, port=proxy.server_address[1])
        assert make_shards(small_raw, f"{url}/out", options=OPTIONS).pages_made == 0
        paths = [unquote(path).rpartition("/out/")[2] for path in proxy.paths if "shard-" in path]
    asked = [f".make-shards/shard-00000{number}.json" for number in range(5)]
    asked += [f"shard-00000{number}.meta.npz" for number in range(5)]
    assert sorted(paths) == sorted([*asked, *asked])


def test_raw_pages_may_be_there(emulator: Emulator, url: str, small_raw: Path, tmp_path: Path) -> None:
    place = open_place(f"{url}/raw pages")
    for name in files_of(small_raw):
        place.put(name, small_raw / name)
    make_shards(f"{url}/raw pages", f"{url}/out", options=OPTIONS)
    make_shards(small_raw, tmp_path / "out", options=OPTIONS)
    tars = {name: data for name, data in made(tmp_path / "out").items() if name.startswith(("shard-", "index/"))}
    found = emulator.objects(f"{url}/out")
    assert {name: data for name, data in found.items() if name.startswith(("shard-", "index/"))} == tars


def test_a_run_reads_the_pages_of_a_folder_and_the_second_epoch_reads_the_cache(
    emulator: Emulator, url: str, small_shards: Path, tiny_model: Path, tmp_path: Path,
    stream_config: Callable[..., Config], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    place = open_place(f"{url}/set")
    for tar in small_shards.glob("*.tar"):
        place.put(tar.name, tar)
    index_folder(f"{url}/set", tiny_model, workers=1)
    assert Shards.open(f"{url}/set").fingerprint == Shards.open(small_shards).fingerprint
    cache = {"path": str(tmp_path / "cache"), "max_bytes": 1 << 30}
    wanted = [*digest(stream_config(small_shards, epochs=2), steps=range(12))]
    assert [*digest(stream_config(f"{url}/set", epochs=2), steps=range(12))] == wanted
    assert [*digest(stream_config(f"{url}/set", epochs=2, cache=cache), steps=range(12))] == wanted
    with spoiling(emulator.port, rate=0) as proxy:
        emulator.use(monkeypatch, port=proxy.server_address[1])
        assert [*digest(stream_config(f"{url}/set", epochs=2, cache=cache), steps=range(12))] == wanted
        assert [path for path in proxy.paths if path.endswith(".tar")] == []


def test_where_answers_fail_nothing_is_lost(
    emulator: Emulator, url: str, small_raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_shards(small_raw, tmp_path / "whole", options=OPTIONS)
    for faults, rate in ((STORE_FAULTS, 0.1), (READ_FAULTS, 0.2)):
        with spoiling(emulator.port, rate=rate, faults=faults, seed=4) as proxy:
            emulator.use(monkeypatch, port=proxy.server_address[1])
            if faults is STORE_FAULTS:
                make_shards(small_raw, f"{url}/out", options=OPTIONS)
            shards = Shards.open(f"{url}/out", FsspecStorage(f"{url}/out", first_wait_s=0.01))
            local = Shards.open(tmp_path / "whole")
            for _ in range(3):
                assert shards.read_many(range(13)) == local.read_many(range(13))
            assert sum(proxy.failed.values()) > 3
    emulator.use(monkeypatch)
    assert emulator.objects(f"{url}/out") == made(tmp_path / "whole")


def test_requests_that_are_left_without_an_answer_are_sent_again(
    emulator: Emulator, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every fourth is; of every third, the same request of an upload to Google would be, each time."""
    (tmp_path / "x").write_bytes(body := os.urandom(7 << 20))
    with spoiling(emulator.port, rate=0, faults=HANGS) as proxy:
        emulator.use(monkeypatch, port=proxy.server_address[1])
        place = FsspecPlace(f"{url}/out", first_wait_s=0.001, silence_s=0.5)
        storage = FsspecStorage(f"{url}/out", first_wait_s=0.001, reading=ReadSettings(silence_s=0.5, max_gap=0))
        place.write("before", b"")
        proxy.every = 4
        for number in range(3):
            assert place.create(f"{number}", b"%d" % number)
            _, version = place.read_version(f"{number}")
            assert place.replace(f"{number}", b"now %d" % number, version)
            place.put("x.tar", tmp_path / "x")
        place.remove(["before", "2"])
        assert [file.name for file in place.files()] == ["0", "1", "x.tar"]
        assert storage.read_file("x.tar") == body
        assert storage.read_many([ByteRange(name="x.tar", offset=at, length=9) for at in (1, 999_999, 5_000_000)]) == [
            body[at : at + 9] for at in (1, 999_999, 5_000_000)
        ]
        assert storage.names("") == ["0", "1", "x.tar"]
        assert set(+proxy.failed) == set(HANGS)
    emulator.use(monkeypatch)
    assert emulator.objects(f"{url}/out") == {"0": b"now 0", "1": b"now 1", "x.tar": body}


def test_two_jobs_on_one_place_are_refused(url: str, small_raw: Path) -> None:
    with (
        one_job(open_place(f"{url}/out"), "index"),
        pytest.raises(ConfigError, match=r"another index \(process .* is at work there"),
    ):
        make_shards(small_raw, f"{url}/out", options=OPTIONS)
    assert [*open_place(f"{url}/out").files()] == []


def test_the_store_decides_who_writes(url: str) -> None:
    """A file that is asked about and written then may be another's in between."""
    place = open_place(f"{url}/a b/out")
    assert place.create("a", b"1") and not place.create("a", b"2")
    _, version = place.read_version("a")
    assert next(iter(place.files())).version == version

    class Late(FsspecPlace):
        """Another writes the file just before the request of this one."""

        def _replaced(self, name: str, data: bytes, version: str) -> bool:
            place.write(name, b"of another")
            return super()._replaced(name, data, version)

    assert not Late(f"{url}/a b/out").replace("a", b"3", version)
    assert place.read("a") == b"of another"
    _, version = place.read_version("a")
    assert place.replace("a", b"4", version) and place.read("a") == b"4"
    place.remove(["a", "a"])
    assert not place.replace("a", b"5", version)
    with pytest.raises(AbsentFileError, match="out/a is not there"):
        place.read("a")


def test_a_large_file_comes_back_as_it_was(url: str, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(body := os.urandom(70 << 20))
    place = open_place(f"{url}/out")
    place.put("x.tar", tmp_path / "x")
    place.fetch("x.tar", tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == body
    assert [(file.name, file.num_bytes) for file in place.files()] == [("x.tar", 70 << 20)]


def test_a_bucket_that_is_not_there_is_said(url: str, tmp_path: Path) -> None:
    there = f"{url.partition('://')[0]}://b-nowhere/out"
    place, storage = open_place(there), FsspecStorage(there)
    with pytest.raises(AbsentBucketError, match="b-nowhere/out/a cannot be written: the store has no such bucket"):
        place.write("a", b"1")
    with pytest.raises(AbsentBucketError, match="b-nowhere/out/ cannot be listed: the store has no such bucket"):
        list(place.files())
    for ask in (lambda: storage.names(""), storage.listing, lambda: storage.size("a"), lambda: place.read("a")):
        with pytest.raises(AbsentBucketError, match=r"b-nowhere/out/a? cannot be read: the store has no such bucket"):
            ask()
    with pytest.raises(AbsentBucketError):
        Shards.open(there)
    with pytest.raises(ConfigError, match="no such bucket"):
        make_shards(there, tmp_path / "out", options=OPTIONS)


def test_a_bucket_that_is_empty_lists_as_empty(url: str) -> None:
    assert list(open_place(url).files()) == list(open_place(f"{url}/out").files()) == []
    with pytest.raises(AbsentFileError, match="has no such file"):
        FsspecStorage(f"{url}/out").read_file("a")


def test_a_store_that_does_not_answer_is_a_failure(
    emulator: Emulator, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with spoiling(emulator.port, rate=1, faults=("503",)) as proxy:
        emulator.use(monkeypatch, port=proxy.server_address[1])
        storage = FsspecStorage(f"{url}/out", attempts=2, first_wait_s=0.001)
        with pytest.raises(StorageFailureError, match="after 2 attempts"):
            storage.read_file("a")
