"""Leases on a real S3 server: one holder, the end of a holder noticed, one that was passed over stops."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tests.helpers.faulty_proxy import spoiling
from tests.helpers.s3_server import S3Server
from tests.helpers.waiting import wait_until
from wdstream.errors import ConfigError, ShardError
from wdstream.storage.places import Place, open_place
from wdstream.storage.writes.lease import Lease, LeaseTimes, _started

QUICK = LeaseTimes(beat_s=0.1, silence_s=1.0)
NAME = ".job/lease"


@pytest.fixture(params=["s3", "memory"])
def place(request: pytest.FixtureRequest, bucket: str) -> Place:
    return open_place(f"{request.param}://{bucket}/out")


def _lease(place: Place, job: str = "job", *, times: LeaseTimes = QUICK) -> Lease:
    return Lease(place, NAME, job=job, times=times)


def _other_machine(place: Place) -> None:
    """Have the holder look as if it were on another machine."""
    data, version = place.read_version(NAME)
    changed = {**json.loads(data), "host": "far", "system": "another", "nonce": "other"}
    assert place.replace(NAME, json.dumps(changed).encode(), version)


def test_a_second_job_is_refused_and_learns_who_is_first(place: Place) -> None:
    with _lease(place, "make-shards") as lease:
        with pytest.raises(ConfigError, match=rf"another make-shards \(process {os.getpid()} on .*, since 20"):
            _lease(place).__enter__()
        lease.check()
    assert [*place.files()] == []
    with _lease(place):
        pass


@pytest.mark.parametrize("conditions", ["ignored", "refused"])
def test_a_store_without_conditional_writes_is_asked_first(
    bucket: str, s3_server: S3Server, monkeypatch: pytest.MonkeyPatch, conditions: str
) -> None:
    """Of one that ignores them a second job took the lease away; one that refuses them could not be written to."""
    with spoiling(s3_server.port, rate=0) as proxy:
        proxy.conditions = conditions
        s3_server.use(monkeypatch, url=proxy.url)
        place = open_place(f"s3://{bucket}/out")
        with _lease(place, "make-shards") as lease:
            with pytest.raises(ConfigError, match="another make-shards"):
                _lease(place).__enter__()
            wait_until(lambda: json.loads(place.read(NAME))["beat"] > 1, "the second beat")
            lease.check()
        assert [*place.files()] == []
        place.write("x", b"1")
        version = place.read_version("x")[1]
        assert not place.create("x", b"2")
        assert place.replace("x", b"2", version)
        assert not place.replace("x", b"3", version)
        assert place.read("x") == b"2"


def test_a_holder_beats(place: Place) -> None:
    with _lease(place) as lease:
        wait_until(lambda: json.loads(place.read(NAME))["beat"] > 1, "the second beat")
        lease.check()


def test_a_second_job_waits_as_long_as_it_is_to(place: Place) -> None:
    first = _lease(place).__enter__()
    waiting = Lease(place, NAME, job="second", wait_s=120, times=QUICK)
    thread = threading.Thread(target=waiting.__enter__)
    thread.start()
    time.sleep(0.3)
    first.__exit__()
    thread.join()
    assert json.loads(place.read(NAME))["job"] == "second"
    waiting.__exit__()


def test_a_silent_holder_of_another_machine_is_taken_over_and_notices(place: Place) -> None:
    first = _lease(place, times=LeaseTimes(beat_s=600))
    with first:
        _other_machine(place)
        with _lease(place, "newcomer"):
            with pytest.raises(ShardError, match=r"another newcomer .* has taken over"):
                first.check()
            with pytest.raises(ShardError, match="nothing more is written"):
                first.check_known()
        assert [*place.files()] == []


def test_a_beat_shows_that_the_lease_is_lost(place: Place) -> None:
    with _lease(place) as lease:
        place.write(NAME, b'{"nonce": "another"}')

        def is_lost() -> bool:
            try:
                lease.check_known()
            except ShardError:
                return True
            return False

        wait_until(is_lost, "the beat that finds it")
        assert place.read(NAME) == b'{"nonce": "another"}', "what another wrote stays"


def test_a_lease_that_cannot_be_read_is_somebodys_until_it_does_not_change(place: Place) -> None:
    place.write(NAME, b"\xff\x00")
    with _lease(place):
        assert json.loads(place.read(NAME))["pid"] == os.getpid()


def _hold_forever(place: Place) -> None:
    with _lease(place, times=LeaseTimes(beat_s=600)):
        time.sleep(600)


def test_a_holder_that_was_killed_here_is_taken_over_at_once(bucket: str, tmp_path: Path) -> None:
    place = open_place(f"s3://{bucket}/out")
    child = multiprocessing.get_context("fork").Process(target=_hold_forever, args=(place,))
    child.start()
    wait_until(lambda: any(place.files()), "the lease")
    assert child.pid is not None
    os.kill(child.pid, signal.SIGKILL)
    child.join()
    with _lease(place, times=LeaseTimes(beat_s=600, silence_s=6000)):
        assert json.loads(place.read(NAME))["pid"] == os.getpid()


def test_a_holder_that_beats_on_another_machine_is_not_taken_over(bucket: str) -> None:
    place = open_place(f"s3://{bucket}/out")
    place.write(NAME, b"{}")
    with (
        pytest.raises(ConfigError, match="is at work there"),
        _Beating(place),
    ):
        _lease(place, times=LeaseTimes(beat_s=0.2, silence_s=600)).__enter__()


def _is_refused(place: Place) -> None:
    with pytest.raises(ConfigError, match="is at work there"):
        _lease(place, times=LeaseTimes(beat_s=0.2, silence_s=3)).__enter__()


def test_a_holder_that_was_suspended_with_all_machines_is_not_taken_over(bucket: str) -> None:
    """The one that waits looks first, and saw long ago what it sees."""
    place = open_place(f"s3://{bucket}/out")
    place.write(NAME, b"{}")
    child = multiprocessing.get_context("fork").Process(target=_is_refused, args=(place,))
    child.start()
    assert child.pid is not None
    time.sleep(1)
    os.kill(child.pid, signal.SIGSTOP)
    time.sleep(3)
    os.kill(child.pid, signal.SIGCONT)
    time.sleep(0.5)
    with _Beating(place):
        child.join()
    assert child.exitcode == 0


class _Beating:
    """Somebody who writes the lease again and again."""

    def __init__(self, place: Place) -> None:
        self._place, self._stop = place, threading.Event()
        self._thread = threading.Thread(target=self._beat)

    def _beat(self) -> None:
        beats = 0
        while not self._stop.wait(0.05):
            beats += 1
            self._place.write(NAME, json.dumps({"beat": beats}).encode())

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_exception: object) -> None:
        self._stop.set()
        self._thread.join()


def test_a_process_whose_name_is_cut_in_a_character_has_begun_too() -> None:
    """The system keeps 15 bytes of it; the number of a holder that is gone may be that of any program now."""
    code = "open('/proc/self/comm', 'wb').write(b'caf\\xc3'); print('named', flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None and other.stdout.readline() == b"named\n"
        assert _started(other.pid).isdigit()
        other.communicate(b"\n")
