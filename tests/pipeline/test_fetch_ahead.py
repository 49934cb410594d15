"""A plan over shards at a URL with `data.cache`: the digests of the folder, whatever happens to the cache.

The servers are real: one for http, and moto's S3 behind a proxy that counts requests.
"""

import os
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from threading import Thread

import pytest
import yaml

from tests.helpers.faulty_proxy import FaultyProxy, spoiling
from tests.helpers.faulty_server import FaultyServer, failing
from tests.helpers.paths import ROOT
from tests.helpers.s3_server import S3Server
from tests.helpers.waiting import wait_until
from wdstream.config.build import plan_from_config
from wdstream.config.schema import Config
from wdstream.errors import ConfigError, StorageFailureError
from wdstream.pipeline.planned import Plan
from wdstream.records import Failure, World
from wdstream.runs.digest import digest
from wdstream.storage.cache.folder import open_cache_folder

pytest.importorskip("aiohttp", reason="needs the extra wdstream[remote]")

MakeConfig = Callable[..., Config]
Digests = list[tuple[int, str]]
FEW_STEPS = range(4)


@pytest.fixture(autouse=True)
def as_in_a_new_process() -> Iterator[None]:
    open_cache_folder.cache_clear()
    yield
    open_cache_folder.cache_clear()


@pytest.fixture
def cache(tmp_path: Path) -> dict[str, object]:
    return {"path": str(tmp_path / "cache"), "max_bytes": 1 << 30, "block_bytes": 1 << 14}


@pytest.fixture
def wanted(stream_config: MakeConfig, small_shards: Path) -> Digests:
    found = list(digest(stream_config(small_shards, epochs=2), steps=FEW_STEPS))
    assert len(found) == len(FEW_STEPS)
    return found


@pytest.fixture
def server(small_shards: Path) -> Iterator[FaultyServer]:
    with failing(small_shards, rate=0) as server:
        yield server


def blocks_in(cache: dict[str, object]) -> list[Path]:
    folder = Path(str(cache["path"])) / "v1" / "files"
    return [path for path in sorted(folder.glob("*/*")) if path.name != "version"]


def test_cold_warm_and_damaged(
    server: FaultyServer, wanted: Digests, stream_config: MakeConfig, cache: dict[str, object], small_shards: Path
) -> None:
    config = stream_config(server.url, epochs=2, cache=cache)
    assert list(digest(config, steps=FEW_STEPS, world=2)) == wanted
    cold, server.asked = server.asked, 0
    assert list(digest(config, steps=FEW_STEPS)) == wanted
    assert cold > server.asked == 0
    for path in [*blocks_in(cache), *Path(str(cache["path"])).glob("v1/columns/*")]:
        data = bytearray(path.read_bytes())
        data[len(data) * 2 // 3] ^= 1
        path.write_bytes(data)
    assert list(digest(config, steps=FEW_STEPS)) == wanted
    assert server.asked > 10
    server.asked = 0
    assert list(digest(config, steps=FEW_STEPS, resume_at=2)) == wanted
    assert server.asked == 0


def test_the_second_epoch_and_the_second_rank_read_nothing(
    server: FaultyServer, stream_config: MakeConfig, cache: dict[str, object]
) -> None:
    plan = plan_from_config(stream_config(server.url, epochs=1, cache=cache, global_batch_size=2))
    with plan.loader(world=World(rank=0, size=2), workers=1) as loader:
        first = [key for batch in loader for keys in batch["keys"] for key in keys]
    with plan.loader(world=World(rank=1, size=2), workers=1) as loader:
        second = [key for batch in loader for keys in batch["keys"] for key in keys]
    assert len({*first, *second}) == 30
    server.asked = 0
    for rank in range(2):
        again = plan_from_config(stream_config(server.url, epochs=1, cache=cache, global_batch_size=2))
        with again.loader(world=World(rank=rank, size=2), workers=1) as loader:
            assert [key for batch in loader for keys in batch["keys"] for key in keys] == (first, second)[rank]
    assert server.asked == 0


def test_packs_to_come_are_fetched_ahead(
    server: FaultyServer, stream_config: MakeConfig, cache: dict[str, object]
) -> None:
    def in_cache(ahead: int, at_least: int) -> int:
        path = f"{cache['path']}-{ahead}"
        config = stream_config(server.url, cache=cache | {"path": path, "ahead": ahead}, global_batch_size=1)
        with plan_from_config(config).loader(workers=0, prefetch=0) as loader:
            next(loader)
            wait_until(lambda: len(blocks_in({"path": path})) >= at_least, f"{at_least} blocks in the cache")
        return len(blocks_in({"path": path}))  # closing waits for what has begun

    of_the_first = in_cache(0, at_least=1)
    of_three = in_cache(2, at_least=of_the_first + 1)
    in_cache(50, at_least=of_three + 1)


def test_an_unwritable_folder_and_a_full_disk(
    server: FaultyServer,
    wanted: Digests,
    stream_config: MakeConfig,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    (tmp_path / "file").touch()
    nowhere = {"path": str(tmp_path / "file" / "cache"), "max_bytes": 1 << 30}
    assert list(digest(stream_config(server.url, epochs=2, cache=nowhere), steps=FEW_STEPS)) == wanted
    assert caplog.text.count("cannot be written to (Not a directory)") == 1
    if os.geteuid() == 0:
        disk = tmp_path / "disk"
        disk.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", str(disk)], check=True)
        try:
            full = {"path": str(disk / "cache"), "max_bytes": 1 << 30, "block_bytes": 1 << 14}
            assert list(digest(stream_config(server.url, epochs=2, cache=full), steps=FEW_STEPS)) == wanted
        finally:
            subprocess.run(["umount", "-l", str(disk)], check=True)  # columns stay mapped
        assert caplog.text.count("cannot be written to (No space left on device)") == 1


def test_s3(
    bucket: str,
    s3_server: S3Server,
    wanted: Digests,
    stream_config: MakeConfig,
    small_shards: Path,
    cache: dict[str, object],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for path in small_shards.rglob("*"):
        if path.is_file():
            name = str(path.relative_to(small_shards))
            s3_server.call("put_object", Bucket=bucket, Key=f"shards/{name}", Body=path.read_bytes())
    with spoiling(s3_server.port, rate=0) as proxy:
        s3_server.use(monkeypatch, url=proxy.url)
        config = stream_config(f"s3://{bucket}/shards", epochs=2, cache=cache)
        assert list(digest(config, steps=FEW_STEPS)) == wanted
        assert asked_by(proxy, lambda: list(digest(config, steps=FEW_STEPS))) == (wanted, 2)


def asked_by(proxy: FaultyProxy, read: Callable[[], Digests]) -> tuple[Digests, int]:
    """What was read, and how many requests it took: each of the two plans of a digest asks for the index's version."""
    before = proxy.asked
    return read(), proxy.asked - before


def note(failures: list[str], _: int, failure: Failure) -> None:
    failures.append(failure.key)


def test_a_store_with_every_fault(
    wanted: Digests, stream_config: MakeConfig, cache: dict[str, object], small_shards: Path
) -> None:
    """Flipped bytes, too: what is wrong is noticed, by whoever knows what is right, and does not stay in the cache."""
    failed: Counter[str] = Counter()
    for seed in range(3):
        with failing(small_shards, rate=0.25, seed=seed) as server:
            failures: list[str] = []
            config = stream_config(server.url, epochs=2, cache=cache | {"path": f"{cache['path']}-{seed}"})
            found = digest(config, steps=FEW_STEPS, on_failure=partial(note, failures))
            assert list(found) == wanted
            assert not failures
            failed += server.failed
            server.rate = server.asked = 0
            assert list(digest(config, steps=FEW_STEPS)) == wanted
            assert server.asked == 0
    assert failed.total() > 8
    assert failed["flipped"]


def test_a_replaced_shard_is_seen(
    server: FaultyServer, stream_config: MakeConfig, cache: dict[str, object], damaged_shards: Path, tmp_path: Path
) -> None:
    """The bytes that the cache has are those that were indexed; others come from the shard that is there now."""
    failed: list[str] = []

    def read(config: Config) -> Digests:
        failed.clear()
        return list(digest(config, steps=range(9), on_failure=lambda _, failure: failed.append(failure.key)))

    config = stream_config(server.url, cache=cache)
    right = read(config)
    assert not failed
    server.root, server.etags = damaged_shards, ['"another"']
    assert read(config) == right
    assert not failed
    for path in blocks_in(cache):
        path.unlink()
    read(config)
    assert {*failed} == {"page-04", "page-17"}


def test_a_cache_that_is_too_small_is_said(
    server: FaultyServer, stream_config: MakeConfig, cache: dict[str, object], caplog: pytest.LogCaptureFixture
) -> None:
    plan: Plan = plan_from_config(stream_config(server.url, cache=cache | {"max_bytes": 400_001}))
    plan.loader().close()
    assert "data.cache.max_bytes is 400,001: for the shards that are read side by side" in caplog.text


def test_a_stream_has_no_cache(stream_config: MakeConfig, cache: dict[str, object], small_shards: Path) -> None:
    with pytest.raises((ConfigError, ValueError), match="streaming reads tars without an index, so it has no cache"):
        stream_config(small_shards, cache=cache, streaming={"lanes": 2})


@pytest.mark.parametrize("has_cache", [False, True])
def test_a_loader_is_closed_while_the_store_is_silent(
    server: FaultyServer, stream_config: MakeConfig, cache: dict[str, object], *, has_cache: bool
) -> None:
    """Closing does not wait until a silent server is given up."""
    more: dict[str, object] = {"reading": {"silence_s": 60}, **({"cache": cache} if has_cache else {})}
    with spoiling(server.server_address[1], rate=0) as proxy:
        loader = plan_from_config(stream_config(proxy.url, **more)).loader()

        def read() -> None:
            with suppress(StorageFailureError, RuntimeError):  # RuntimeError: closed
                next(loader)

        proxy.is_open.clear()
        taken, reading = proxy.taken, Thread(target=read)
        reading.start()
        wait_until(lambda: proxy.taken > taken, "a request")
        closing = Thread(target=loader.close)
        closing.start()
        closing.join(48)
        is_closed = not closing.is_alive()
        proxy.is_open.set()
        closing.join()
        reading.join()
        assert is_closed


@pytest.mark.slow
def test_ranks_at_once_and_ranks_that_are_killed(
    server: FaultyServer,
    wanted: Digests,
    stream_config: MakeConfig,
    small_shards: Path,
    cache: dict[str, object],
    tmp_path: Path,
) -> None:
    """Real processes: three side by side over one cache that has room for half, some of them killed as they read."""
    config = stream_config(server.url, epochs=2, cache=cache | {"max_bytes": 300_000})
    (tmp_path / "cfg.yaml").write_text(yaml.safe_dump(config.model_dump(mode="json")))
    lines = "".join(f"{step} {value}\n" for step, value in wanted)
    command = [sys.executable, "-m", "wdstream", "digest", str(tmp_path / "cfg.yaml"), "--steps", "0:4"]

    def start() -> subprocess.Popen[str]:
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    chance = random.Random(0)
    for _ in range(3):
        processes = [start() for _ in range(3)]
        asked = server.asked
        while server.asked < asked + chance.randrange(1, 40) and processes[0].poll() is None:
            time.sleep(0.01)
        processes[0].kill()
        processes[0].communicate()
        for process in processes[1:]:
            out, log = process.communicate()
            assert out == lines, log
            assert "is damaged" not in log
