"""Whose an output folder is: of one job, with one content, and of one process at a time.

What the job is of is written first, into `.reshard/` or the like, so that the files of two jobs can never mix; how far
it is, is next to that. Killed anywhere and started again, a job continues, and ends with the same bytes.
"""

import fcntl
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import lru_cache
from multiprocessing import parent_process
from pathlib import Path
from typing import IO, Any

from wdstream.errors import ConfigError, ShardError, load_json, write_trouble
from wdstream.storage.atomic import bring_file, remove_unfinished, write_file
from wdstream.storage.engines.part import WorkPart
from wdstream.storage.engines.part_locks import PARTS, part_lock, remove_part_notes, saving
from wdstream.storage.lock import FileLock
from wdstream.storage.places import Place, open_place
from wdstream.storage.writes.working_copy import InCopy, PlaceOfPart, mark_sent, place_of_part
from wdstream.text.characters import short_name

_LOCK, _WORKERS_LOCK = "lock", "workers"
_LOCK_WAIT_S = 10.0
LARGE = (".tar", ".tar.idx", ".parquet", ".arrow")
"""What the files end in that are not kept on this machine, of an output at a URL."""
_held: list[IO[bytes]] = []
"""What a worker keeps open until it ends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobFolder:
    """The output of one kind of job.

    Attributes:
        out: the folder.
        job: name of the job, such as `reshard`: what it is and how far are in `.reshard/`.
        part: the part of the job that is done, next to other parts; None for all of it.
        store: URL of the output, of which the folder has all but large files (job_output.py); empty where it is all.
        remedy: what to do where another content is in it.
    """

    out: Path
    job: str
    part: WorkPart | None = None
    store: str = ""
    remedy: str = "choose another folder"

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
        busy = ConfigError(
            f"{self.out}: another {self.job} is at work there, or a change of its index; wait for its end"
        )
        try:
            self.state.mkdir(parents=True, exist_ok=True)
            with ExitStack() as stack:
                lock = FileLock(
                    self.state / _LOCK, wait_s=_LOCK_WAIT_S, refuse=lambda _: busy, is_shared=self.part is not None
                )
                stack.enter_context(lock)
                if self.part is not None:
                    stack.enter_context(part_lock(self.state, self.part, _LOCK_WAIT_S))
                self._await_workers(busy)
                self._remove_debris()
                with saving(self.state, self.part):
                    self._claim(content)
                notes = [self.mark, *self.state.glob(PARTS)]
                self.keep([path.relative_to(self.out).as_posix() for path in notes])
                yield
                if self.part is None:
                    remove_part_notes(self.state)
        except OSError as error:
            raise write_trouble(self.out, error) from error

    def begin_worker(self) -> None:
        """Hold the folder from a worker, so that no new job starts there while one of a killed job is at work."""
        file = self._workers_lock(self.part).open("a+b")
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
            record: Mapping[str, Any] = load_json(note.read_bytes())
            if record["made_of"] != made_of:
                return None
            is_changed = file is not None and not self.store and file.stat().st_mtime_ns > note.stat().st_mtime_ns
            return None if is_changed else record
        except (OSError, ValueError, KeyError, TypeError):  # not there, or zeroed by a power cut
            return None

    def note_done(self, name: str, made_of: str, **more: object) -> Mapping[str, Any]:
        """Note that a piece is finished, and return the note; called last."""
        record = {"made_of": made_of, **more}
        note = self.state / f"{name}.json"
        write_file(note, json.dumps(record, sort_keys=True).encode() + b"\n")
        self.keep([note.relative_to(self.out).as_posix()])
        return record

    def keep(self, names: Sequence[str]) -> None:
        """Of an output at a URL, send these files, in this order; large ones are not kept here."""
        for name in names if self.store else ():
            _place_at(self.store).put(name, self.out / name)
            if name.endswith(LARGE):
                (self.out / name).unlink()
            else:
                mark_sent(self.out / name)

    def take_in(self, files: Mapping[str, bytes]) -> None:
        """What another machine sent of a piece, and keeps no more."""
        for name, data in files.items():
            write_file(self.out / name, data)
            mark_sent(self.out / name)

    def num_bytes(self, name: str) -> int | None:
        """Of a file of the output; None where it is not there."""
        if self.store:
            there = _place_at(self.store).files(name)
            return next((file.num_bytes for file in there if file.name == name), None)
        return (self.out / name).stat().st_size if (self.out / name).is_file() else None

    def bring(self, addresses: Sequence[str], owned: Callable[[str], Sequence[str]]) -> None:
        """Bring the pieces that parts of this job noted at places of their own; the places stay as they are.

        Args:
            addresses: folders or URLs that parts wrote.
            owned: the files of a piece of that name, below the folder.

        Raises:
            ShardError: a place holds no part, or one of another job.
        """
        with ExitStack() as stack:
            places = [stack.enter_context(place_of_part(address, self._in_copy)) for address in addresses]
            for place in places:
                mark = place.folder / self.state.name / self.mark.name
                if not mark.is_file() or mark.read_bytes() != self.mark.read_bytes():
                    what = "is of another job" if mark.is_file() else f"no part of a {self.job} was written there"
                    told = f"merge parts of the same input and options into {self.out}"
                    raise ShardError(f"{place.address}: {what}; {told}")
            for place in places:
                for note in sorted((place.folder / self.state.name).glob("*.json")):
                    self._bring_piece(place, note, owned(note.stem))
                if (place.folder / self.state.name / PARTS).is_file() and not (self.state / PARTS).is_file():
                    bring_file(place.folder / self.state.name / PARTS, self.state / PARTS)

    def _bring_piece(self, place: PlaceOfPart, note: Path, names: Sequence[str]) -> None:
        """Bring a piece, its note last, unless it is here."""
        mine = self.state / note.name
        if note.name == self.mark.name or (mine.is_file() and mine.read_bytes() == note.read_bytes()):
            return
        for name in names:
            place.bring(name, self.out / name)
        self.keep(names)
        write_file(mine, note.read_bytes())  # after what it is of, also where that was fetched just now
        self.keep([mine.relative_to(self.out).as_posix()])

    def _in_copy(self, name: str) -> InCopy:
        """Of a place of a part, notes alone are copied before a piece is wanted."""
        return InCopy.WHOLE if name.startswith(f"{self.state.name}/") else InCopy.ABSENT

    def _workers_lock(self, part: WorkPart | None) -> Path:
        return self.state / (_WORKERS_LOCK if part is None else f"{_WORKERS_LOCK}-{part.name}")

    def _await_workers(self, busy: ConfigError) -> None:
        """Wait for the end of workers of a job that was killed a moment ago: for all of it, of every part, too."""
        own = [self._workers_lock(None), self._workers_lock(self.part)]
        for path in own if self.part is not None else [own[0], *self.state.glob(f"{_WORKERS_LOCK}-*")]:
            with FileLock(path, wait_s=_LOCK_WAIT_S, refuse=lambda _: busy):
                if self.part is None and path != own[0]:
                    path.unlink()

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
            before, now = load_json(self.mark.read_bytes()), load_json(text)
            names = sorted(name for name in before.keys() | now.keys() if before.get(name) != now.get(name))
        except (ValueError, AttributeError) as error:
            raise ConfigError(f"{self.mark} cannot be read ({error}): remove {self.out}, or choose another") from error
        if names:
            lines = "".join(f"  {name} was {before.get(name)!r:.300}, is {now.get(name)!r:.300}\n" for name in names)
            raise ConfigError(
                f"{self.out} was made by {self.job} from something else:\n{lines}use what was used then, or "
                f"{self.remedy}"
            )

    def _remove_debris(self) -> None:
        """What a killed job left half-written; what a part left, it writes over, and others are at work."""
        for folder in (self.out, self.state, self.out / "index") if self.part is None else ():
            remove_unfinished(folder)


@lru_cache(maxsize=4)
def _place_at(address: str) -> Place:
    """One for all pieces that a process makes, so that connections are kept."""
    return open_place(address)


def digest_of(*parts: bytes | str) -> str:
    """32 hexadecimal digits over all parts, in order."""
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        digest.update(len(data).to_bytes(8, "little") + data)
    return digest.hexdigest()
