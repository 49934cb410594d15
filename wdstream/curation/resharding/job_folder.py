"""Whose an output folder is: of one job, with one content, and of one process at a time.

What the job is of is written first, into `.reshard/` or the like, so that the files of two jobs can never mix; how far
it is, is next to that. Killed anywhere and started again, a job continues, and ends with the same bytes.
"""

import fcntl
import hashlib
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import parent_process
from pathlib import Path
from typing import IO, Any

from wdstream.errors import ConfigError, ShardError
from wdstream.storage.atomic import remove_unfinished, write_file
from wdstream.storage.lock import FileLock
from wdstream.text.characters import short_name

_LOCK, _WORKERS_LOCK = "lock", "workers"
_LOCK_WAIT_S = 10.0
_held: list[IO[bytes]] = []
"""What a worker keeps open until it ends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobFolder:
    """The output of one kind of job.

    Attributes:
        out: the folder.
        job: name of the job, such as `reshard`: what it is and how far are in `.reshard/`.
    """

    out: Path
    job: str

    @property
    def mark(self) -> Path:
        """The file that says whose the folder is."""
        return self.state / "job.json"

    @property
    def state(self) -> Path:
        """Where the job keeps how far it is."""
        return self.out / f".{self.job}"

    def refuse_inside(self, inputs: Sequence[Path | str]) -> None:
        """Check that the output is not an input, not inside of one, and not around one.

        Raises:
            ConfigError: it is.
        """
        out = self.out.resolve()
        for given in inputs:
            if "://" in str(given):
                continue
            path = Path(given).resolve()
            if out.is_relative_to(path) or path.is_relative_to(out):
                raise ConfigError(f"{self.out}: cannot write to the input {given}, into it or above it; choose another")

    @contextmanager
    def claimed(self, content: Mapping[str, object]) -> Iterator[None]:
        """Hold the folder for the block, as the output of a job with this content.

        Raises:
            ConfigError: it holds other files, or the output of a job with another content, or another process is at
                work there.
            ShardError: it cannot be written.
        """
        self._refuse_foreign()
        busy = ConfigError(f"{self.out}: another {self.job} is at work there; wait until it has ended")
        try:
            self.state.mkdir(parents=True, exist_ok=True)
            with FileLock(self.state / _LOCK, wait_s=_LOCK_WAIT_S, refuse=lambda _: busy):
                self._await_workers(busy)
                self._remove_debris()
                self._claim(content)
                yield
        except OSError as error:
            raise ShardError(
                f"{self.out}: cannot be written ({error.strerror or error}); when that is put right, run the same "
                "command again: it continues"
            ) from error

    def begin_worker(self) -> None:
        """Hold the folder from a worker, so that no new job starts there while one of a killed job is at work."""
        file = (self.state / _WORKERS_LOCK).open("a+b")
        fcntl.flock(file, fcntl.LOCK_SH)
        _held.append(file)
        parent = parent_process()
        if parent is not None and not parent.is_alive():
            os._exit(1)

    def done(self, name: str, made_of: str, file: Path | None = None) -> Mapping[str, Any] | None:
        """What was noted of a piece that was finished before, of this input; None where it is to be made.

        Args:
            name: of the piece.
            made_of: as in `note_done`.
            file: the piece itself: changed after it was noted, it is made again.
        """
        note = self.state / f"{name}.json"
        try:
            record: Mapping[str, Any] = json.loads(note.read_bytes())
            if record["made_of"] != made_of:
                return None
            is_changed = file is not None and file.stat().st_mtime_ns > note.stat().st_mtime_ns
            return None if is_changed else record
        except (OSError, ValueError, KeyError, TypeError):  # not there, or zeroed by a power cut
            return None

    def note_done(self, name: str, made_of: str, **more: object) -> Mapping[str, Any]:
        """Note that a piece is finished, and return the note; called last."""
        record = {"made_of": made_of, **more}
        write_file(self.state / f"{name}.json", json.dumps(record, sort_keys=True).encode() + b"\n")
        return record

    def _await_workers(self, busy: ConfigError) -> None:
        """Wait for the end of workers of a job that was killed a moment ago."""
        deadline = time.monotonic() + _LOCK_WAIT_S
        with (self.state / _WORKERS_LOCK).open("a+b") as file:
            while True:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    return
                except BlockingIOError as error:
                    if time.monotonic() >= deadline:
                        raise busy from error
                time.sleep(0.05)

    def _refuse_foreign(self) -> None:
        if self.out.exists() and not self.out.is_dir():
            raise ConfigError(f"{self.out}: expected a folder to write to, found a file")
        if not self.out.is_dir() or self.mark.is_file():
            return
        others = sorted(path.name for path in self.out.iterdir() if path.name != self.state.name)
        if others:
            raise ConfigError(
                f"{self.out}: holds {len(others)} files or folders that {self.job} did not write "
                f"({short_name(others[0])}, ...); choose a new folder"
            )

    def _claim(self, content: Mapping[str, object]) -> None:
        text = json.dumps(content, indent=1, sort_keys=True)
        if not self.mark.is_file():
            write_file(self.mark, text.encode() + b"\n")
            return
        try:
            before, now = json.loads(self.mark.read_bytes()), json.loads(text)
            names = sorted(name for name in before.keys() | now.keys() if before.get(name) != now.get(name))
        except (ValueError, AttributeError) as error:
            raise ConfigError(f"{self.mark} cannot be read ({error}): remove {self.out}, or choose another") from error
        if names:
            lines = "".join(f"  {name} was {before.get(name)!r:.300}, is {now.get(name)!r:.300}\n" for name in names)
            raise ConfigError(
                f"{self.out} was made by {self.job} from something else:\n{lines}use what was used then, or choose "
                "another folder"
            )

    def _remove_debris(self) -> None:
        """What a killed job left half-written."""
        for folder in (self.out, self.state, self.out / "index"):
            remove_unfinished(folder)


def digest_of(*parts: bytes | str) -> str:
    """32 hexadecimal digits over all parts, in order."""
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        digest.update(len(data).to_bytes(8, "little") + data)
    return digest.hexdigest()
