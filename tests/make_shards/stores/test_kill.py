"""make-shards into a real S3 server, killed by SIGKILL at random moments: the same objects, and nothing else.

Spans: make_shards.
"""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.helpers.jobs import workers_of
from tests.helpers.s3_server import S3Server
from tests.helpers.waiting import wait_until
from wdstream.make_shards import MakeShardsOptions, make_shards
from wdstream.storage.writes import s3_place

PROGRAM = """
import sys
from wdstream.make_shards import MakeShardsOptions, make_shards
from wdstream.storage.writes import s3_place
s3_place.PART_BYTES = 5 << 20
options = MakeShardsOptions(workers=2, pages_per_shard=2, check_images=False)
print("begun", flush=True)
make_shards(sys.argv[1], sys.argv[2], options=options)
"""
LARGE = 11 << 20
"""Bytes of a page, so that a shard goes in parts, which a kill may leave unfinished."""


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pages of a few bytes, and one that is large."""
    from PIL import Image

    folder = tmp_path_factory.mktemp("raw")
    for number in range(9):
        size = (1900, 1950) if number == 4 else (40, 40)
        Image.frombytes("RGB", size, random.Random(number).randbytes(3 * size[0] * size[1])).save(
            folder / f"page-{number}.png", compress_level=0
        )
        (folder / f"page-{number}.txt").write_text(f"page {number}")
    return folder


def objects_of(server: S3Server, bucket: str) -> dict[str, bytes]:
    return server.objects(bucket, "out/")


@pytest.fixture(scope="module")
def whole(raw: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What a job without kills leaves, in a folder."""
    out = tmp_path_factory.mktemp("whole") / "out"
    make_shards(raw, out, options=MakeShardsOptions(workers=1, pages_per_shard=2, check_images=False))
    files = {path.relative_to(out).as_posix(): path for path in out.rglob("*") if path.is_file()}
    return {name: path.read_bytes() for name, path in files.items() if name != ".make-shards/lock"}


def _run(raw: Path, bucket: str, *, kill_after: float | None) -> bool:
    """Whether a job ended by itself; else it was killed this many seconds after it began."""
    command = [sys.executable, "-c", PROGRAM, str(raw), f"s3://{bucket}/out"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        try:
            process.wait(kill_after)
        except subprocess.TimeoutExpired:
            workers = workers_of(process.pid)
            process.kill()
            wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers), "the end of the workers")
            return False
    assert process.returncode == 0
    return True


def _kill_again_and_again(raw: Path, bucket: str, server: S3Server, kills: int, seed: int) -> list[str]:
    """Kill jobs at random moments until there were this many kills; one that ends by itself begins again in an
    empty bucket. Returns the keys of unfinished uploads that kills left."""
    draw, left, longest, killed = random.Random(seed), [], 3.0, 0
    while killed < kills:
        started = time.monotonic()
        if _run(raw, bucket, kill_after=draw.uniform(0, longest)):
            longest = time.monotonic() - started
            for name in objects_of(server, bucket):
                server.call("delete_object", Bucket=bucket, Key=f"out/{name}")
        else:
            killed += 1
            left += server.unfinished(bucket)
    return left


@pytest.mark.parametrize("kills", [pytest.param(1, id="1"), pytest.param(50, id="50", marks=pytest.mark.slow)])
@pytest.mark.timeout(3600)
def test_killed_at_random_moments_the_objects_are_the_same(
    kills: int, raw: Path, bucket: str, s3_server: S3Server, whole: dict[str, bytes], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """The first of them between the last part of an upload and its end."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    _kill_in_an_upload(bucket, tmp_path / "large")
    assert s3_server.unfinished(bucket) == ["out/shard-000002.tar"]
    _kill_again_and_again(raw, bucket, s3_server, kills, seed=kills)
    assert _run(raw, bucket, kill_after=None)
    assert objects_of(s3_server, bucket) == whole
    assert s3_server.unfinished(bucket) == []
    assert [*tmp_path.glob("wdstream-*/*")] == []


def _kill_in_an_upload(bucket: str, large: Path) -> None:
    """Leave an upload of which all parts are there, and which is not complete."""
    child = os.fork()
    if child == 0:

        def stop(*_: object) -> None:
            os.kill(os.getpid(), signal.SIGKILL)

        s3_place.PART_BYTES = 5 << 20
        s3_place.S3Place._complete = stop  # type: ignore[method-assign,assignment]
        large.write_bytes(bytes(LARGE))
        s3_place.S3Place(f"s3://{bucket}/out").put("shard-000002.tar", large)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL
