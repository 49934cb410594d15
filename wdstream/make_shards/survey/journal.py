"""What a survey has found so far, line by line, so that a job that is killed during it does not open files again.

It only saves time: what was torn is left out, and a file that changed since is opened again. It is written in pieces,
each a file, so that little is sent again where the output is a store. When the survey is whole, it is kept as such
(manifest.py), and the journal is removed.
"""

import itertools
import json
import os
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from wdstream.errors import load_json
from wdstream.make_shards.record import STATE_FOLDER
from wdstream.raw.listed.files import RawFiles
from wdstream.raw.source import RawFile
from wdstream.storage.engines.part import WorkPart

_NAME = "surveyed"
_PIECE_S, _PIECE_BYTES = 30.0, 8 << 20


class SurveyJournal:
    """The journal of a job, or of one part of it; entered to be written.

    Args:
        out: the folder of shards.
        part: of the job; None for all of it.
        stamps: of the files of the input as they are now.
        on_piece: called when a piece is whole.

    Attributes:
        known: files that were surveyed before, by this part or another one, and are as they were.
    """

    def __init__(
        self, out: Path, part: WorkPart | None, stamps: Mapping[str, str], on_piece: Callable[[], None] | None = None
    ) -> None:
        self._folder = out / STATE_FOLDER
        self._name = _NAME if part is None else f"{_NAME}-{part.name}"
        self._part, self._stamps, self._on_piece = part, stamps, on_piece
        self._file: BinaryIO | None = None
        self._began_at = 0.0
        self.known = RawFiles()
        for path in sorted(self._folder.glob(f"{_NAME}*.jsonl")):
            self._load(path)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._end_piece()

    def add(self, files: Iterable[RawFile]) -> None:
        """Note files that were surveyed; no kill takes them any more, and soon no power cut."""
        files = [*files]
        if not files:
            return
        if self._file is None:
            self._file, self._began_at = self._free_path().open("xb"), time.monotonic()
        for file in files:
            line = {"stamp": self._stamps.get(file.path, ""), "file": file}
            self._file.write(json.dumps(line, separators=(",", ":")).encode() + b"\n")
        self._file.flush()
        if time.monotonic() - self._began_at > _PIECE_S or self._file.tell() > _PIECE_BYTES:
            self._end_piece()
            if self._on_piece is not None:
                self._on_piece()

    def remove(self) -> None:
        """Remove it, as the survey is kept whole; those of parts, too, where it is that of all."""
        for path in self._folder.glob(f"{self._name if self._part is not None else _NAME}*.jsonl"):
            path.unlink(missing_ok=True)

    def _end_piece(self) -> None:
        if self._file is not None:
            os.fsync(self._file.fileno())
            self._file.close()
            self._file = None

    def _free_path(self) -> Path:
        paths = (self._folder / f"{self._name}-{number:06d}.jsonl" for number in itertools.count())
        return next(path for path in paths if not path.exists())

    def _load(self, path: Path) -> None:
        """Take in a piece, up to a line that was torn; a part that has ended its survey meanwhile removed its own."""
        with suppress(FileNotFoundError), path.open("rb") as file:
            for line in file:
                try:
                    tree = load_json(line)
                    found, stamp = RawFile.from_json(tree["file"]), tree["stamp"]
                except (ValueError, KeyError, TypeError):
                    break
                if stamp and self._stamps.get(found.path) == stamp:
                    self.known.append(found)
