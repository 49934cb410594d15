"""Copies for libraries that need a path: what a killed process leaves is removed, what is in use stays."""

import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from wdstream.raw.remote.scratch import scratch_folder

PROGRAM = """
import time
from wdstream.raw.remote.scratch import scratch_folder
with scratch_folder() as folder:
    (folder / "copy.pdf").write_bytes(b"content")
    print(folder, flush=True)
    time.sleep(600)  # until it is killed
"""


def test_killed_process_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with subprocess.Popen([sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        left = Path(process.stdout.readline().strip())
        with scratch_folder() as own:
            assert (left / "copy.pdf").is_file(), "it lives, and uses it"
            assert own != left
        process.send_signal(signal.SIGKILL)
        process.wait()
    with scratch_folder() as own:
        assert [*tmp_path.iterdir()] == [own]
    assert not [*tmp_path.iterdir()]
