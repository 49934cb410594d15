"""One holder at a time among threads; waiting; the note; descriptors that child processes keep."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from threading import Event, Thread

import pytest

from wdstream.errors import ConfigError
from wdstream.storage.lock import FileLock, brief_lock


def busy(path: Path) -> FileLock:
    return FileLock(path, wait_s=0, refuse=lambda note: ConfigError(f"held by <{note}>"))


def test_the_second_is_refused_with_the_note_of_the_first(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with FileLock(path, note="me\n"):
        with pytest.raises(ConfigError, match="held by <me>"), busy(path):
            raise AssertionError("two holders")
        assert path.read_text() == "me\n"
    with busy(path) as lock:  # free again, and it may be taken again
        assert lock.file.read() == b""  # opened for appending, at its end
    with lock:
        pass


def test_without_a_limit_it_waits(tmp_path: Path) -> None:
    entered = Event()

    def hold() -> None:
        with FileLock(tmp_path / "lock"):
            entered.set()

    with FileLock(tmp_path / "lock"):
        thread = Thread(target=hold)
        thread.start()
        assert not entered.wait(0.2)
    thread.join(60)
    assert entered.is_set()


def test_a_child_that_inherits_it_holds_it(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with FileLock(path) as lock:
        child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, pass_fds=[lock.fileno()])
    with child:
        with pytest.raises(ConfigError), busy(path):
            raise AssertionError("two holders")
        child.kill()
    with busy(path):
        pass


def test_a_folder_that_is_missing_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), FileLock(tmp_path / "none" / "lock"):
        raise AssertionError("no folder")


@pytest.mark.parametrize("is_killed", [False, True])
def test_a_process_that_was_forked_meanwhile_does_not_hold_a_brief_lock(tmp_path: Path, *, is_killed: bool) -> None:
    def fork() -> int:
        child = os.fork()
        if child == 0:
            told.with_name("begun").touch()  # Python has done by now what it does in a forked process
            time.sleep(600)
            os._exit(0)
        return child

    path, told = tmp_path / "lock", tmp_path / "child"
    holder = os.fork()
    if holder == 0:
        with brief_lock(path):
            told.with_name("writing").write_text(str(fork()))
            told.with_name("writing").rename(told)
            time.sleep(600 if is_killed else 0)
        os._exit(0)
    while not (told.exists() and told.with_name("begun").exists()):
        time.sleep(0.01)
    try:
        if is_killed:
            os.kill(holder, signal.SIGKILL)
        os.waitpid(holder, 0)
        with busy(path):
            pass
    finally:
        os.kill(int(told.read_text()), signal.SIGKILL)
