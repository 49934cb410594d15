"""Small raw folders, and helpers to run make-shards on them."""

import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

DATA = Path(__file__).parents[1] / "data"
SMALL = (
    "pdf/handbook-fa-sect.user-space.pdf",
    "pdf/handbook-fa-sect.user-space.1.txt",
    "pdf/handbook-fa-sect.user-space.2.txt",
    "pdf/slides-packaging-tutorial-en.pdf",
    "pdf/slides-packaging-tutorial.ja.pdf",
    "images/pillow-g4-multi.tiff",
    "images/pillow-g4-multi.txt",
    "images/tesseract-phototest.tif",
    "images/tesseract-phototest.txt",
    "rows/interleaved.jsonl",
    "scans/leptonlib-lucasta.1.300.tif",
)

Tree = dict[str, str]


@pytest.fixture(scope="session")
def small_raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A handful of the shipped pages: 4 of PDFs, 4 of images, 5 rows, and a scan without text."""
    raw = tmp_path_factory.mktemp("small")
    for name in SMALL:
        (raw / name).parent.mkdir(exist_ok=True)
        shutil.copy(DATA / "pages" / name, raw / name)
    shutil.copytree(DATA / "pages/rows/images", raw / "rows/images")
    return raw


@pytest.fixture(scope="session")
def tree_of() -> Callable[[Path], Tree]:
    """Digest of every file below a folder, by path."""

    def digest(folder: Path) -> Tree:
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}

    return digest


def children_of(pid: int) -> list[int]:
    """Processes started by a process and alive, workers say."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                stat = (folder / "stat").read_text().rpartition(")")[2].split()
            except OSError:  # it has ended meanwhile
                continue
            if int(stat[1]) == pid and stat[0] not in ("Z", "X") and int(folder.name) != os.getpid():
                found.append(int(folder.name))
    return sorted(found)
