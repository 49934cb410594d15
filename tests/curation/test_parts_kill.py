"""Parts and merges over a store, killed by SIGKILL at a request, in any order and twice: what one job here leaves.

Spans: curation, verify, make_shards, storage.
"""

import random
import shutil
import sys
from pathlib import Path

import pytest

from tests.helpers.command import run
from tests.helpers.killing_proxy import run_killed
from tests.helpers.s3_server import S3Server
from tests.helpers.stores import files_of, send
from wdstream.make_shards import index_folder

pytest.importorskip("s3fs", reason="needs the extra wdstream[remote]")
MERGED = ["--merge"]
JOBS = {
    "reshard": (["reshard", "SET", "OUT/new", "--pages", "4", "--shuffle"], MERGED),
    "dedup": (["dedup", "SET", "--report", "OUT/list.jsonl", "--near", "--by", "image"], MERGED),
    "verify": (["verify", "SET", "--results", "OUT/results"], MERGED),
}


def of_job(words: list[str], place: str) -> list[str]:
    """The words of a command for one place: a folder or a URL."""
    return [f"{place}/set" if word == "SET" else word.replace("OUT", f"{place}/out") for word in words]


def without_notes(files: dict[str, bytes]) -> dict[str, bytes]:
    """Files that a job leaves, without what only processes of this machine look at."""
    return {
        name: data
        for name, data in files.items()
        if name.rpartition("/")[2] not in ("lock", "workers") and "results/" not in name
    }


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("job", JOBS)
def test_killed_parts_leave_what_one_job_leaves(
    job: str, small_shards: Path, s3_server: S3Server, bucket: str, tmp_path: Path
) -> None:
    here, draw, (words, merge) = tmp_path / "here", random.Random(job), JOBS[job]
    (here / "out").mkdir(parents=True)
    (here / "set").mkdir()
    for tar in small_shards.glob("*.tar"):
        shutil.copy(tar, here / "set")
    index_folder(here / "set", workers=1)
    send(s3_server, here, bucket, "there")
    url, temporary = f"s3://{bucket}/there", tmp_path / "temporary"
    temporary.mkdir()
    if job != "verify":
        assert (done := run(*of_job(words, str(here)), "--workers", "1")).returncode == 0, done
    program = [sys.executable, "-m", "wdstream", *of_job(words, url), "--workers", "1"]

    def called(more: list[str], moment: int = 0) -> int:
        asked, status = run_killed([*program, *more], s3_server, moment, {"TMPDIR": str(temporary)})
        assert status == 0 if moment == 0 else status in (0, -9), (more, moment)
        return asked

    most = called(["--part", "3/3"])
    for part in ("2/3", "1/3"):
        for _ in range(3):
            called(["--part", part], draw.randint(2, most + 5))
        called(["--part", part])
    called(["--part", "2/3"])  # once more changes nothing
    for _ in range(3):
        called(merge, draw.randint(2, most + 20))
    called(merge)
    assert without_notes(s3_server.objects(bucket, "there")) == without_notes(files_of(here))
    assert s3_server.unfinished(bucket) == []
    left = [path for path in temporary.rglob("*") if path.is_file()]
    assert left == [], left
