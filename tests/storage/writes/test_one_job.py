"""One job at a time on a place: processes that begin in the same moment, whole jobs and parts, on a real S3 server."""

import subprocess
import sys
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.helpers.s3_server import S3Server
from wdstream.errors import ConfigError
from wdstream.storage.engines.part import WorkPart
from wdstream.storage.places import open_place
from wdstream.storage.writes.one_job import LEASE, one_job
from wdstream.storage.writes.scratch import scratch_of

PROGRAM = """
import sys
from wdstream.errors import ConfigError
from wdstream.storage.engines.part import WorkPart
from wdstream.storage.places import open_place
from wdstream.storage.writes.one_job import one_job

part = WorkPart.parse(sys.argv[1]) if sys.argv[1] else None
print("ready", flush=True)
for line in sys.stdin:
    try:
        with one_job(open_place(line.strip()), "make-shards", part=part):
            print("held", flush=True)
            sys.stdin.readline()  # both have tried
    except ConfigError as error:
        print(error, flush=True)
        sys.stdin.readline()
    print("done", flush=True)
"""


class _Job:
    """A process that holds places when it is asked to."""

    def __init__(self, stack: ExitStack, part: str) -> None:
        command = [sys.executable, "-c", PROGRAM, part]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.process = stack.enter_context(process)
        stack.callback(process.kill)
        assert process.stdin is not None and process.stdout is not None
        self.told, self.says = process.stdin, process.stdout

    def tell(self, line: str) -> None:
        self.told.write(f"{line}\n")
        self.told.flush()

    def answer(self) -> str:
        return self.says.readline().strip()


def test_two_processes_that_begin_in_the_same_moment_never_both_hold_a_place(bucket: str, s3_server: S3Server) -> None:
    """Two whole jobs, ten times; a whole job and a part; parts of two numbers."""
    with ExitStack() as stack:
        jobs = [_Job(stack, part) for part in ("", "", "1/3", "1/4")]
        assert [job.answer() for job in jobs] == ["ready"] * 4
        for first, second, rounds in ((0, 1, 10), (0, 2, 4), (2, 3, 4)):
            held = 0
            for number in range(rounds):
                pair = [jobs[first], jobs[second]]
                for job in pair:
                    job.tell(f"s3://{bucket}/{first}{second}-{number}")
                answers = [job.answer() for job in pair]
                for job in pair:
                    job.tell("both have tried")
                assert [job.answer() for job in pair] == ["done", "done"]
                refused = [answer for answer in answers if answer != "held"]
                assert refused, "both hold it"
                assert all("another make-shards (process " in text for text in refused)
                held += 2 - len(refused)
            assert held == 10 or second != 1, "of two whole jobs, one goes on"
    assert not any(LEASE in name for name in s3_server.objects(bucket))


def test_parts_of_one_number_share_a_place(bucket: str) -> None:
    place = open_place(f"s3://{bucket}/out")
    first, second, other = (WorkPart.parse(text) for text in ("1/3", "2/3", "1/4"))
    with one_job(place, "make-shards", part=first), one_job(place, "make-shards", part=second):
        for part in (first, other, None):
            with pytest.raises(ConfigError, match="another make-shards"), one_job(place, "index", part=part):
                pass
    with one_job(place, "index"):
        pass
    assert [*place.files()] == []


def test_a_part_that_was_killed_excludes_nobody(bucket: str) -> None:
    place = open_place(f"s3://{bucket}/out")
    with ExitStack() as stack:
        job = _Job(stack, "1/3")
        assert job.answer() == "ready"
        job.tell(place.address)
        assert job.answer() == "held"
        job.process.kill()
        job.process.wait()
    assert any(file.name.startswith(LEASE) for file in place.files())
    with one_job(place, "index"):
        pass
    assert not any(file.name.startswith(LEASE) for file in place.files())


def test_a_folder_of_a_job_that_ends_while_the_next_one_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its lock goes with the folder: who waited for it held nothing, and found no folder."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    begun, seen = threading.Event(), list[list[str]]()

    def next_job() -> None:
        begun.set()
        with scratch_of("job") as (folder, _):
            seen.append([*map(str, folder.iterdir())])
            (folder / "x").write_bytes(b"1")
            seen.append([path.name for path in folder.iterdir()])

    with ThreadPoolExecutor(4) as pool:
        with scratch_of("job") as (folder, _):
            (folder / "old").write_bytes(b"1")
            waiting = [pool.submit(next_job) for _ in range(4)]
            begun.wait()
        for job in waiting:
            job.result()
    assert seen == [[], ["x"]] * 4
    assert [*tmp_path.glob("*/*")] == []
