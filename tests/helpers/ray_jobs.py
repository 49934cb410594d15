"""Programs that use Ray, each with a cluster of its own on this machine, of which nothing is left."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path


class RayProgram:
    """A program that starts Ray; its output, and the processes of Ray that it has."""

    def __init__(self, process: "subprocess.Popen[str]", folder: str) -> None:
        self.process = process
        self._folder = folder

    @property
    def has_ended(self) -> bool:
        """Whether the program has ended; Ray may still."""
        return self.process.poll() is not None

    def workers(self) -> list[int]:
        """Processes of Ray that are in a call of ours."""
        return [pid for pid in _processes_of(self._folder) if _title(pid).startswith("ray::_call")]

    def left(self) -> list[str]:
        """Temporary files that are there, of the program and of Ray."""
        return sorted(str(path.relative_to(self._folder)) for path in Path(self._folder).rglob("*"))

    def ends(self) -> tuple[int, str]:
        """Wait for its end; its status and what it wrote."""
        written, _ = self.process.communicate(timeout=600)
        return self.process.returncode, written


@contextmanager
def ray_program(arguments: Sequence[str]) -> Iterator[RayProgram]:
    """`python ARGUMENTS` with a Ray of its own; every process of it is ended with the block."""
    folder = tempfile.mkdtemp(prefix="r", dir="/tmp")  # short: sockets are in it
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    environment |= {"RAY_TMPDIR": folder, "TMPDIR": folder, "RAY_USAGE_STATS_ENABLED": "0"}
    command = [sys.executable, *arguments]
    try:
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
        ) as process:
            try:
                yield RayProgram(process, folder)
            finally:
                process.kill()
    finally:
        for pid in _processes_of(folder):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        shutil.rmtree(folder, ignore_errors=True)


def _processes_of(folder: str) -> list[int]:
    mark = f"RAY_TMPDIR={folder}\0".encode()
    return [
        int(entry.name)
        for entry in Path("/proc").iterdir()
        if entry.name.isdigit() and mark in _read(entry / "environ")
    ]


def _title(pid: int) -> str:
    return _read(Path(f"/proc/{pid}/cmdline")).decode(errors="replace")


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:  # it has ended, or is somebody else's
        return b""
