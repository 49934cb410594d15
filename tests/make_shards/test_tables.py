"""make-shards on tables: every row once, killed and continued, changed and noticed.

Spans: make_shards, raw.
"""

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.helpers.jobs import Tree
from tests.helpers.paths import PAGES, ROOT
from tests.helpers.tables import small_images
from wdstream.make_shards import MakeShardsOptions, make_shards
from wdstream.records import TextSegment
from wdstream.shards.reader import Shards

KILLED = """
import os, signal, sys
from pathlib import Path
from wdstream.make_shards import MakeShardsOptions, make_shards
def show(state):
    if state.stage == "making shards" and state.pages_done >= 50:
        os.kill(os.getpid(), signal.SIGKILL)
make_shards(
    Path(sys.argv[1]), Path(sys.argv[2]), options=MakeShardsOptions(workers=1, pages_per_shard=20), on_progress=show
)
"""
OPTIONS = MakeShardsOptions(workers=1, pages_per_shard=20)


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """A dataset as it is on a hub, and one that was saved to a disk."""
    images = small_images()
    rows = {
        "image": [{"bytes": images[n % 6], "path": f"{n}.png"} for n in range(90)],
        "text": [f"page {n}" for n in range(90)],
        "language": ["de" if n % 2 else "fr" for n in range(90)],
    }
    features = {"image": datasets.Image(), "text": datasets.Value("string"), "language": datasets.Value("string")}
    pages = datasets.Dataset.from_dict(rows, features=datasets.Features(features))
    (tmp_path / "raw/data").mkdir(parents=True)
    pages.select(range(50)).to_parquet(tmp_path / "raw/data/train-00000-of-00001.parquet", batch_size=15)
    datasets.DatasetDict(test=pages.select(range(50, 90))).save_to_disk(tmp_path / "raw/saved")
    return tmp_path / "raw"


def texts(out: Path) -> dict[str, str]:
    found = {}
    shards = Shards.open(out)
    for number in range(len(shards)):
        page = shards.read_page(number)
        found[page.key] = next(s.text for s in page.segments if isinstance(s, TextSegment))
        assert page.images == (small_images()[int(found[page.key].split()[1]) % 6],)
    return found


def test_rows_become_pages_and_nothing_is_ignored(raw: Path, tmp_path: Path) -> None:
    report = make_shards(raw, tmp_path / "out", options=OPTIONS)
    assert (report.num_pages, report.quarantined, report.ignored) == (90, (), {})
    found = texts(tmp_path / "out")
    keys = [f"data/train-00000-of-00001@{n:06d}" for n in range(1, 51)]
    keys += [f"saved/test/data-00000-of-00001@{n:06d}" for n in range(1, 41)]
    assert found == {key: f"page {n}" for n, key in enumerate(keys)}


def test_killed_and_continued_to_the_same_bytes(raw: Path, tmp_path: Path, tree_of: Callable[[Path], Tree]) -> None:
    make_shards(raw, tmp_path / "whole", options=OPTIONS)
    done = subprocess.run([sys.executable, "-c", KILLED, raw, tmp_path / "out"], check=False)
    assert done.returncode == -signal.SIGKILL
    report = make_shards(raw, tmp_path / "out", options=OPTIONS)
    assert report.pages_made < 90
    assert tree_of(tmp_path / "out") == tree_of(tmp_path / "whole")


def test_only_shards_of_rows_that_changed_are_made_again(raw: Path, tmp_path: Path) -> None:
    make_shards(raw, tmp_path / "out", options=OPTIONS)
    path = raw / "data/train-00000-of-00001.parquet"
    table = pq.read_table(path)
    rows = table.to_pylist()
    rows[30] |= {"text": "page 0", "image": rows[0]["image"]}
    pq.write_table(pa.Table.from_pylist(rows, table.schema), path, row_group_size=25)
    options = OPTIONS.model_copy(update={"retry_quarantined": True})
    report = make_shards(raw, tmp_path / "out", options=options)
    assert report.made_again == ("data/train-00000-of-00001.parquet (pages 21-40)",)
    assert texts(tmp_path / "out")["data/train-00000-of-00001@000031"] == "page 0"


@pytest.mark.parametrize(("name", "num_pages"), [("parquet", 3), ("json-array", 2)])
def test_examples_come_in_whole(name: str, num_pages: int, tmp_path: Path) -> None:
    report = make_shards(ROOT / "examples" / name, tmp_path / "out", options=OPTIONS)
    assert (report.num_pages, report.quarantined, report.without_image) == (num_pages, (), 0)
    page = Shards.open(tmp_path / "out").read_page(0)
    shown = "".join(segment.text for segment in page.segments if isinstance(segment, TextSegment))
    assert (PAGES / "images/tesseract-phototest.txt").read_text().strip() in shown
