"""Tasks in processes: a script without a guard; processes that are lost; what is raised there."""

import logging
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.jobs import children_of
from tests.helpers.paths import ROOT
from tests.helpers.waiting import wait_until
from wdstream.errors import RowError, ShardError
from wdstream.storage.processes import in_processes

SCRIPT = """
from pathlib import Path
from wdstream.storage.processes import in_processes
with Path("begun").open("a") as file:
    file.write("once\\n")
print(list(in_processes(abs, [-3, 2, -1], 2, command="test")), Path(__file__).name, __spec__)
"""


def killed_once_at_two_and_four(path: Path) -> str:
    if path.name in "24" and not path.exists():
        path.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return path.name


def killed_each_time(path: Path) -> None:
    with path.open("a") as file:
        file.write("x")
    os.kill(os.getpid(), signal.SIGKILL)


class OfTwoError(Exception):
    """Cannot be pickled as it is."""

    def __init__(self, first: str, second: str) -> None:
        super().__init__(f"{first} and {second}")


def raises(name: str) -> None:
    if name == "row":
        raise RowError("no such field", option=" (--map)")
    if name == "key":
        raise KeyError("width")
    raise OfTwoError("one", "another")


def waits(path: Path) -> None:
    path.touch()
    signal.pause()


def test_a_script_that_starts_processes_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has no `if __name__ == "__main__":`, and processes that began with it would do the same."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    (tmp_path / "script.py").write_text(SCRIPT)
    done = subprocess.run([sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout == "[3, 2, 1] script.py None\n", done.stderr
    assert (tmp_path / "begun").read_text() == "once\n"


OF_A_SCRIPT = """
from wdstream.storage.processes import in_processes
def negative(number):
    return -number
if __name__ == "__main__":
    list(in_processes(negative, [1, 2], 2, command="test"))
"""


def test_a_function_of_a_script_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes do not have the script: they say so, and do not count as killed."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    (tmp_path / "script.py").write_text(OF_A_SCRIPT)
    done = subprocess.run([sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "AttributeError: Can't get attribute 'negative' on <module '__main__'" in done.stderr
    assert "killed" not in done.stderr


def test_work_of_a_lost_process_is_done_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    paths = [tmp_path / str(number) for number in range(6)]
    with caplog.at_level(logging.WARNING, logger="wdstream"):
        results = in_processes(killed_once_at_two_and_four, iter(paths), 2, command="test")
        assert list(results) == ["0", "1", "2", "3", "4", "5"]
    assert set(caplog.messages) == {"a process of test was lost; what was at work is done again"}
    assert len(caplog.messages) in {1, 2}  # both may be lost in one moment


def test_work_that_every_process_is_lost_at(tmp_path: Path) -> None:
    before = children_of(os.getpid())
    with pytest.raises(ShardError, match="3 processes of test were killed one after the other without a result"):
        list(in_processes(killed_each_time, [tmp_path / "times"], 2, command="test"))
    assert (tmp_path / "times").read_text() == "xxx"
    assert set(children_of(os.getpid())) - set(before) <= _trackers()


def test_what_is_raised_there_is_raised_here() -> None:
    with pytest.raises(RowError, match=r"^no such field \(--map\)$"):
        list(in_processes(raises, ["row"], 2, command="test"))
    with pytest.raises(KeyError, match=r"(?s)width.*in a process:.*in raises\n"):
        list(in_processes(raises, ["key"], 2, command="test"))
    with pytest.raises(RuntimeError, match=r"OfTwoError.*one and another"):
        list(in_processes(raises, ["other"], 2, command="test"))


def test_processes_of_results_that_nobody_asks_for_are_ended(tmp_path: Path) -> None:
    before = children_of(os.getpid())
    results = in_processes(abs, range(100), 2, command="test")
    assert next(results) == 0
    results.close()  # type: ignore[attr-defined]
    assert set(children_of(os.getpid())) - set(before) <= _trackers()


STOPPED = """
import sys
from pathlib import Path
from tests.storage.test_processes import waits
from wdstream.storage.processes import in_processes
list(in_processes(waits, [Path(name) for name in sys.argv[1:]], 2, command="test"))
"""


def test_an_interrupt_ends_all_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    files = [tmp_path / name for name in "ab"]
    with subprocess.Popen(
        [sys.executable, "-c", STOPPED, *files], stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        wait_until(lambda: all(file.exists() for file in files), "both are at work")
        os.killpg(process.pid, signal.SIGINT)
        _, written = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGINT, written
    assert written.count("KeyboardInterrupt\n") == 1, written  # of the parent alone
    wait_until(lambda: not _of_group(process.pid), "nothing is left")


def _trackers() -> set[int]:
    """Python's own process for what processes share, of which there is one."""
    return {pid for pid in children_of(os.getpid()) if b"resource_tracker" in _command_of(pid)}


def _command_of(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:  # it has ended
        return b""


def _of_group(group: int) -> list[int]:
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if os.getpgid(int(folder.name)) == group:
                found.append(int(folder.name))
        except ProcessLookupError:
            continue
    return found
