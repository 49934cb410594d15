"""One writer at a time on a store: a lease, which is a small file there with who holds it, and a beat that rises.

The holder writes the file again every few seconds, each time only while it is as the holder wrote it last. A newcomer
that finds a lease looks whether it changes. If it does, the newcomer is refused. If it does not for a while by the
newcomer's own clock, or the holder was a process of this machine that has ended, the newcomer takes it over, again by a
conditional write. No clocks are compared. A holder that lost its lease learns it by its next beat, or when it asks.
"""

import json
import logging
import os
import secrets
import socket
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from wdstream.errors import AbsentFileError, ConfigError, ForbiddenFileError, ShardError, StorageFailureError, load_json
from wdstream.storage.tries import Deadline
from wdstream.storage.writes.place import Place

_log = logging.getLogger(__name__)
_MOST_ROUNDS = 40
_POLL_S = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseTimes:
    """Seconds between two beats of a holder, and without one after which it counts as gone."""

    beat_s: float = 10.0
    silence_s: float = 60.0


DEFAULT_TIMES = LeaseTimes()


class Lease:
    """A lease on a place, as a context manager; see `Place.hold` for the arguments."""

    def __init__(
        self, place: Place, name: str, *, job: str, wait_s: float = 0.0, times: LeaseTimes = DEFAULT_TIMES
    ) -> None:
        self._place, self._name, self._job = place, name, job
        self._wait_s, self._times = wait_s, times
        self._who: dict[str, object] = {}
        self._beats = 0
        self._version = ""
        self._lost = ""
        self._lock = threading.Lock()
        self._stop = threading.Event()

    def __enter__(self) -> Self:
        now = datetime.now(UTC).isoformat(timespec="seconds")
        self._who = {"nonce": secrets.token_hex(8), "job": self._job, **_this_process(), "since": now}
        self._beats, self._lost = 0, ""
        self._stop.clear()
        self._take()
        _, self._version = self._place.read_version(self._name)
        threading.Thread(target=self._keep, daemon=True).start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._stop.set()
        with self._lock:
            try:
                if not self._lost and self._is_ours(self._place.read(self._name)):
                    self._place.remove([self._name])
            except ShardError as error:  # the next job finds that this process has ended
                _log.warning("%s: the lease could not be removed: %s", self._place.address, error)

    def check(self) -> None:
        """Ask the place whether the lease is held still.

        Raises:
            ShardError: another job has it, or it is gone.
        """
        with self._lock:
            if not self._lost:
                self._look()
        self.check_known()

    def check_known(self) -> None:
        """Whether a beat has shown that the lease is lost.

        Raises:
            ShardError: it was.
        """
        if self._lost:
            raise ShardError(
                f"{self._place.address}: {self._lost}, since this one gave no sign of life for a while; nothing more "
                "is written. When the other has ended, run the same command again: it continues"
            )

    def fileno(self) -> None:
        """None: child processes do not hold it."""

    def _content(self) -> bytes:
        return json.dumps({**self._who, "beat": self._beats}, sort_keys=True).encode() + b"\n"

    def _is_ours(self, data: bytes) -> bool:
        return _parsed(data).get("nonce") == self._who["nonce"]

    def _look(self) -> None:
        """Compare what is there with what is ours."""
        try:
            data = self._place.read(self._name)
        except AbsentFileError:
            self._lost = "somebody removed the lease of this job"
            return
        if not self._is_ours(data):
            self._lost = f"{_shown(data)} has taken over"

    def _keep(self) -> None:
        """Beat until the end, or until the lease is lost; what fails may pass until the next beat."""
        while not self._stop.wait(self._times.beat_s) and not self._lost:
            with self._lock:
                if self._stop.is_set():
                    return
                try:
                    self._beat()
                except ShardError as error:
                    _log.warning("%s: the lease could not be renewed: %s", self._place.address, error)

    def _beat(self) -> None:
        self._beats += 1
        if self._place.replace(self._name, self._content(), self._version):
            _, self._version = self._place.read_version(self._name)
        else:
            self._look()
            if not self._lost:  # a beat before this one was written, and its answer lost
                _, self._version = self._place.read_version(self._name)

    def _take(self) -> None:
        deadline = Deadline(self._wait_s)
        data = b""
        for _ in range(_MOST_ROUNDS):
            if self._create():
                return
            try:
                data, version = self._place.read_version(self._name)
            except AbsentFileError:
                continue  # released meanwhile
            lives = _lives_here(_parsed(data))
            if lives is False or (lives is None and self._stays(data)):
                if self._place.replace(self._name, self._content(), version):
                    return
            elif deadline.is_over(most_s=self._times.beat_s):
                break
            else:
                time.sleep(max(_POLL_S, self._wait_s / _MOST_ROUNDS))
        raise ConfigError(f"{self._place.address}: {_shown(data)} is at work there; wait until it has ended")

    def _create(self) -> bool:
        try:
            return self._place.create(self._name, self._content())
        except (AbsentFileError, ForbiddenFileError, StorageFailureError) as error:
            raise ConfigError(f"{self._place.address}: cannot write there: {error}") from error

    def _stays(self, data: bytes) -> bool:
        """Whether a lease does not change for so long that its holder counts as gone."""
        silence, first_beats = Deadline(self._times.silence_s), Deadline(2 * self._times.beat_s)
        while not silence.is_over(most_s=self._times.beat_s):
            if first_beats.is_over(most_s=self._times.beat_s):
                _log.warning("%s: %s gave no sign of life for a while", self._place.address, _shown(data))
            time.sleep(self._times.beat_s / 2)
            try:
                if self._place.read(self._name) != data:
                    return False
            except AbsentFileError:
                return False
        return True


def _parsed(data: bytes) -> Mapping[str, object]:
    try:
        tree: object = load_json(data)
    except ValueError:
        return {}
    return tree if isinstance(tree, dict) else {}


def _shown(data: bytes) -> str:
    """Who holds a lease, in words."""
    said = {name: ascii(str(value))[1:-1] for name, value in _parsed(data).items()}
    if not said:
        return "another job (its lease cannot be read)"
    return (
        f"another {said.get('job', 'job')} (process {said.get('pid')} on {said.get('host')}, since {said.get('since')})"
    )


def _this_process() -> dict[str, object]:
    return {"host": socket.gethostname(), "system": _system(), "pid": os.getpid(), "started": _started(os.getpid())}


def _system() -> str:
    """What differs between two boots, machines or containers, whose process numbers say nothing to one another."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""


def _started(pid: int) -> str:
    """When a process began, as the system counts it; empty when there is none."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in ("Z", "X") else fields[19]


def _lives_here(holder: Mapping[str, object]) -> bool | None:
    """Whether the holder, a process of this system, runs still; None where it was of another."""
    system, pid = _system(), holder.get("pid")
    if not system or holder.get("system") != system or not isinstance(pid, int):
        return None
    return _started(pid) == holder.get("started")
