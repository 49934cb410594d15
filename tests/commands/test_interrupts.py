"""An interrupt ends a command without a traceback, wherever Python answers it: while its modules are imported, which
takes half a second, while commands are looked through, in code that cannot clean up then, and at its end.

Spans: commands
"""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.interrupts import LOCK_IS_FREE, interrupt_at
from tests.helpers.paths import ROOT
from wdstream.commands.app import main
from wdstream.testing import make_pages

INTERRUPTED = """
import os, signal, sys

class Interrupts:  # where the import of typer begins
    def find_spec(self, name, path=None, target=None):
        if name == "typer":
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Interrupts())
from wdstream.__main__ import main
sys.argv = ["wdstream", "--help"]
main()
"""


def test_an_interrupt_while_modules_are_imported() -> None:
    # Where the tests run in the background of a shell, interrupts are ignored from the start.
    code = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n" + INTERRUPTED
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr, done.stdout) == (-signal.SIGINT, "", "")


def test_an_interrupt_while_commands_are_looked_through(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object, **_options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("typer.main.get_group_from_info", interrupted)
    with pytest.raises(SystemExit) as ended:
        main()
    assert (ended.value.code, capsys.readouterr().err) == (130, "wdstream: interrupted\n")


@pytest.mark.parametrize(
    ("command", "told"),
    [
        ("index SHARDS", "the same command continues with the tars that are not described yet"),
        ("index SHARDS --rebuild", "the index is as it was; the same command begins again"),
        ("lengths SHARDS", "the same command continues with the rest"),
        ("export parquet SHARDS OUT", "the same command continues with the rest"),
    ],
)
def test_an_interrupt_says_what_becomes_of_the_work(
    command: str, told: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object, **_options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("typer.main.get_group_from_info", interrupted)
    monkeypatch.setattr("sys.argv", ["wdstream", *command.split()])
    with pytest.raises(SystemExit) as ended:
        main()
    printed = capsys.readouterr().err
    assert ended.value.code == 130 and printed.startswith("wdstream: interrupted: ") and printed.endswith(f"{told}\n")


def test_an_interrupt_where_threading_cannot_clean_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The bar of progress starts a thread."""
    raw = make_pages(tmp_path / "raw", num_pages=1)
    monkeypatch.setattr("sys.argv", ["wdstream", "make-shards", str(raw), str(tmp_path / "out")])
    with interrupt_at(LOCK_IS_FREE, "return"), pytest.raises(SystemExit) as ended:
        main()
    assert (ended.value.code, capsys.readouterr().err) == (130, "wdstream: interrupted\n")


PROGRAM = """
import atexit, os, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
how, sys.argv[1:] = sys.argv[1], sys.argv[2:]

class Interrupts:
    def find_spec(self, name, path=None, target=None):
        if name == "wdstream.make_shards.job":
            if how == "dropped":
                Interrupted()
            else:
                exec("os.kill(os.getpid(), signal.SIGINT)")  # as the modules of dataclasses do

class Interrupted:
    def __del__(self):  # Python drops what is raised here
        os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Interrupts())
from wdstream.__main__ import main
if how == "twice":
    atexit.register(os.kill, os.getpid(), signal.SIGINT)
main()
"""


@pytest.mark.parametrize(("how", "status"), [("dropped", 130), ("once", 130), ("twice", -signal.SIGINT)])
def test_an_interrupt_where_python_would_drop_it_or_the_status_and_one_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str, status: int
) -> None:
    (tmp_path / "program.py").write_text(PROGRAM)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{ROOT}")
    raw = make_pages(tmp_path / "raw", num_pages=1)
    command = [sys.executable, "-m", "program", how, "make-shards", str(raw), str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == status, done.stderr
    assert done.stderr.startswith("wdstream: ") and len(done.stderr.splitlines()) == 1, done.stderr


def test_where_interrupts_are_ignored_they_stay_so() -> None:
    code = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\n" + INTERRUPTED
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, "make-shards" in done.stdout) == (0, True)
