"""Small raw folders, and helpers to run make-shards on them."""

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.helpers.jobs import Tree
from tests.helpers.paths import DATA

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
