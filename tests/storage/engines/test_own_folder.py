"""A temporary folder of one process: gone with it; what a killed one left goes with the next, what is in use stays."""

import subprocess
import sys
from pathlib import Path

import pytest

from wdstream.storage.engines.own_folder import own_folder, own_ray_folder

HOLDS = """
import sys, time
from pathlib import Path
from wdstream.storage.engines.own_folder import own_folder
with own_folder(Path(sys.argv[1]), "x-") as folder:
    (folder / "file").write_text("1")
    print(folder, flush=True)
    time.sleep(600)
"""


def test_only_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    (tmp_path / "y-other").mkdir()
    with subprocess.Popen([sys.executable, "-c", HOLDS, tmp_path], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        theirs = Path(other.stdout.readline().strip())
        with own_folder(tmp_path, "x-") as ours:
            assert ours.is_dir() and ours != theirs and (theirs / "file").is_file()
        assert not ours.exists() and theirs.is_dir()
        other.kill()
    with own_folder(tmp_path, "x-"):
        assert not theirs.exists()
    assert [path.name for path in tmp_path.iterdir()] == ["y-other"]


def test_paths_of_sockets_are_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also with a folder for temporary files that is deep."""
    deep = tmp_path / "a-folder-with-quite-a-long-name"
    deep.mkdir()
    monkeypatch.setenv("RAY_TMPDIR", str(deep))
    with own_ray_folder() as folder:
        assert len(str(folder)) < 44
    assert not folder.exists()
