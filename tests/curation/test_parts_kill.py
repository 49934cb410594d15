"""Parts and merges killed by SIGKILL, in any order and twice: what one job leaves.

In a folder they are killed when they change a file, over a store at a request.

Spans: curation, verify, make_shards, storage.
"""

import json
import random
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.helpers.command import run
from tests.helpers.killing_proxy import run_killed
from tests.helpers.kills import killed
from tests.helpers.s3_server import S3Server
from tests.helpers.stores import files_of, send
from wdstream.make_shards import index_folder

pytest.importorskip("s3fs", reason="needs the extra wdstream[remote]")
MERGED = ["--merge"]
THE_REST: list[str] = []
"""Of commands that need no merge: without --part they do what is left."""
JOBS = {
    "reshard": (["reshard", "SET", "OUT/new", "--pages", "4", "--shuffle"], MERGED),
    "dedup": (["dedup", "SET", "--report", "OUT/list.jsonl", "--near", "--by", "image"], MERGED),
    "verify": (["verify", "SET", "--results", "OUT/results"], MERGED),
    "index": (["index", "SET"], THE_REST),
    "index elsewhere": (["index", "SET", "--out", "OUT/index"], THE_REST),
    "lengths": (["lengths", "SET", "--tokenizer", "MODEL", "--paragraphs"], THE_REST),
}
Call = Callable[[list[str], int], int]
"""Runs a job with more words; before its request of this number it is killed, never where that is 0. Returns how many
there were until its end."""


def of_job(words: list[str], place: str, model: Path) -> list[str]:
    """The words of a command for one place: a folder or a URL."""
    named = {"SET": f"{place}/set", "MODEL": str(model)}
    return [named.get(word, word.replace("OUT", f"{place}/out")) for word in words]


def without_notes(files: dict[str, bytes], place: str) -> dict[str, bytes]:
    """Files that a job leaves, without what only processes of this machine look at; of an index that names the place of
    its tars, without that, and the digest over it."""

    def without_place(data: bytes) -> bytes:
        if f'"tars": "{place}/set"'.encode() not in data:
            return data
        tree = json.loads(data)
        return json.dumps({key: value for key, value in tree.items() if key not in ("tars", "digest")}).encode()

    return {
        name: without_place(data)
        for name, data in files.items()
        if name.rpartition("/")[2] not in ("lock", "workers") and "results/" not in name
    }


def begin(job: str, shards: Path, folder: Path) -> None:
    """The set that a job works on, in `set`, with an index where the job needs one, and a folder for what it makes."""
    (folder / "out").mkdir(parents=True)
    (folder / "set").mkdir()
    for tar in shards.glob("*.tar"):
        shutil.copy(tar, folder / "set")
    if not job.startswith("index"):
        index_folder(folder / "set", workers=1)


def kill_again_and_again(called: Call, merge: list[str], draw: random.Random) -> None:
    """All parts and the merge, each killed three times first."""
    most = called(["--part", "3/3"], 0)
    for part in ("2/3", "1/3"):
        for _ in range(3):
            called(["--part", part], draw.randint(2, most + 5))
        called(["--part", part], 0)
    called(["--part", "2/3"], 0)  # once more changes nothing
    for _ in range(3):
        called(merge, draw.randint(2, most + 20))
    called(merge, 0)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("job", JOBS)
def test_killed_parts_in_a_store_leave_what_one_job_leaves(
    job: str, small_shards: Path, tiny_model: Path, s3_server: S3Server, bucket: str, tmp_path: Path
) -> None:
    here, (words, merge) = tmp_path / "here", JOBS[job]
    begin(job, small_shards, here)
    send(s3_server, here, bucket, "there")
    url, temporary = f"s3://{bucket}/there", tmp_path / "temporary"
    temporary.mkdir()
    if job != "verify":
        assert (done := run(*of_job(words, str(here), tiny_model), "--workers", "1")).returncode == 0, done
    program = [sys.executable, "-m", "wdstream", *of_job(words, url, tiny_model), "--workers", "1"]

    def called(more: list[str], moment: int) -> int:
        asked, status = run_killed([*program, *more], s3_server, moment, {"TMPDIR": str(temporary)})
        assert status == 0 if moment == 0 else status in (0, -9), (more, moment)
        return asked

    kill_again_and_again(called, merge, random.Random(job))
    found = s3_server.objects(bucket, "there")
    assert without_notes(found, url) == without_notes(files_of(here), str(here))
    assert s3_server.unfinished(bucket) == []
    left = [path for path in temporary.rglob("*") if path.is_file()]
    assert left == [], left


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("job", JOBS)
def test_killed_parts_in_a_folder_leave_what_one_job_leaves(
    job: str, small_shards: Path, tiny_model: Path, tmp_path: Path
) -> None:
    whole, parts, (words, merge) = tmp_path / "whole", tmp_path / "parts", JOBS[job]
    for folder in (whole, parts):
        begin(job, small_shards, folder)
    if job != "verify":
        assert (done := run(*of_job(words, str(whole), tiny_model), "--workers", "1")).returncode == 0, done
    deaths = 0
    for more in (["--part", "3/3"], ["--part", "2/3"], ["--part", "1/3"], merge):
        command = [*of_job(words, str(parts), tiny_model), "--workers", "1", *more]
        for moment in (*range(1, 9), *range(9, 60, 5)):
            if not killed(parts, lambda _: run(*command), moment, counts_all=True):  # noqa: B023
                break
            deaths += 1
        assert (done := run(*command)).returncode == 0, done
    assert deaths >= (6 if job == "verify" else 12)  # which writes a file per part, and a list
    assert without_notes(files_of(parts), str(parts)) == without_notes(files_of(whole), str(whole))
