"""One writer per run: the second is refused, and a killed one leaves no lock."""

import subprocess
import sys
from pathlib import Path

import pytest

from wdstream.errors import TrainError
from wdstream.runs.record import run_lock

HOLDER = """
import sys, time
from pathlib import Path
from wdstream.runs.record import run_lock
with run_lock(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


def test_second_is_refused_until_the_first_is_killed(tmp_path: Path) -> None:
    output = tmp_path / "run"
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(output)], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with (
            pytest.raises(TrainError, match=rf"run: another process \(pid {holder.pid}\) is training here"),
            run_lock(output),
        ):
            raise AssertionError("two writers")
        holder.kill()
    with run_lock(output):
        assert (output / "lock").read_text().startswith("pid ")
    with run_lock(output):  # released at the end of the block
        assert output.is_dir()
