"""make-shards from pages in a real S3 server: the bytes of a local folder, with faults, kills and changes.

Spans: raw, make_shards.
"""

import hashlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import pytest

from tests.helpers.faulty_proxy import spoiling
from tests.helpers.jobs import Tree
from tests.helpers.paths import DATA
from tests.helpers.s3_server import S3Server
from wdstream.errors import ConfigError, ShardError
from wdstream.make_shards import MakeShardsOptions, make_shards
from wdstream.make_shards.jobs import MakeShardsProgress
from wdstream.testing import make_pages

OPTIONS = MakeShardsOptions(workers=2, pages_per_shard=4)
PROGRAM = """
import sys, time
from pathlib import Path
from typing import Literal
from wdstream.make_shards import MakeShardsOptions, make_shards
def show(state):
    if state.stage == "making shards" and state.pages_done >= int(sys.argv[3]):
        print("waiting", flush=True)
        time.sleep(600)  # until it is killed
make_shards(sys.argv[1], Path(sys.argv[2]), options=MakeShardsOptions(workers=2, pages_per_shard=4), on_progress=show)
"""


@pytest.fixture(scope="session")
def every_raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A little of everything: PDFs and images with texts, rows with images, a compressed file of rows, tars, tables."""
    raw = tmp_path_factory.mktemp("every") / "raw"
    make_pages(raw, num_pages=6, seed=3)
    for folder in ("pdf", "images"):
        shutil.copytree(DATA / "pages" / folder, raw / folder)
    shutil.copytree(DATA / "pages/rows", raw / "rows")
    _write_tar(raw / "tars/a.tar", "w")
    _write_tar(raw / "tars/b.tar.gz", "w:gz")
    _write_table(raw / "tables/pages.parquet")
    (raw / "alto").mkdir()
    (raw / "left.xyz").write_bytes(b"of no use")
    (raw / "scans of 1900").mkdir()
    (raw / "scans of 1900/empty.png").write_bytes(b"")
    (raw / "scans of 1900/é à.txt").write_text("Text", encoding="utf-8")
    (raw / "scans of 1900/é à.png").write_bytes(_picture(9))
    return raw


def _picture(number: int) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.new("L", (40 + number, 30), 255 - number).save(buffer, "PNG")
    return buffer.getvalue()


def _write_tar(path: Path, mode: Literal["w", "w:gz"]) -> None:
    path.parent.mkdir(exist_ok=True)
    with tarfile.open(path, mode) as tar:
        for number in range(9):
            for ending, data in (("png", _picture(number)), ("txt", f"Page {number} of {path.name}".encode())):
                member = tarfile.TarInfo(f"{number:04d}.{ending}")
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))


def _write_table(path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    path.parent.mkdir()
    images = [{"bytes": _picture(number), "path": None} for number in range(12)]
    table = pa.table({"image": images, "text": [f"Row {number}" for number in range(12)]})
    parquet.write_table(table, path, row_group_size=5)


def put(server: S3Server, bucket: str, folder: Path) -> str:
    """Upload a folder; the URL that it has then."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            key = f"some/raw/{path.relative_to(folder)}"
            server.call("put_object", Bucket=bucket, Key=key, Body=path.read_bytes())
    return f"s3://{bucket}/some/raw"


def contents(tree: Tree) -> Tree:
    """What a job makes, without how it keeps its state: stamps are times here and versions there."""
    return {name: digest for name, digest in tree.items() if not name.startswith(".make-shards/")}


@pytest.fixture
def url(every_raw: Path, s3_server: S3Server, bucket: str) -> str:
    """The same pages in a store."""
    return put(s3_server, bucket, every_raw)


@pytest.fixture(scope="session")
def expected(every_raw: Path, tmp_path_factory: pytest.TempPathFactory, tree_of: Callable[[Path], Tree]) -> Tree:
    """What make-shards makes of the local folder."""
    out = tmp_path_factory.mktemp("expected")
    assert make_shards(every_raw, out, options=OPTIONS).num_pages > 50
    return contents(tree_of(out))


def test_url_gives_the_bytes_of_the_folder(
    url: str, expected: Tree, tmp_path: Path, tree_of: Callable[[Path], Tree]
) -> None:
    report = make_shards(url, tmp_path / "out", options=OPTIONS)
    assert not report.changed
    assert contents(tree_of(tmp_path / "out")) == expected
    assert make_shards(url, tmp_path / "out", options=OPTIONS).pages_made == 0
    assert not list(Path.cwd().glob("s3:*"))


@pytest.mark.slow
def test_from_a_store_to_a_folder_of_pages_in_it(url: str, expected: Tree, s3_server: S3Server, bucket: str) -> None:
    """Neither is on this machine, and the second run passes over what the first one wrote below RAW."""
    make_shards(url, f"{url}/shards", options=OPTIONS)
    again = make_shards(url, f"{url}/shards", options=OPTIONS)
    assert (again.pages_made, again.changed, again.made_again) == (0, (), ())
    found = s3_server.objects(bucket, "some/raw/shards/")
    assert contents({name: hashlib.sha256(data).hexdigest() for name, data in found.items()}) == expected


@pytest.mark.slow
def test_faults_change_nothing(
    url: str,
    expected: Tree,
    s3_server: S3Server,
    tmp_path: Path,
    tree_of: Callable[[Path], Tree],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with spoiling(s3_server.port, rate=0.05, seed=5) as proxy:
        s3_server.use(monkeypatch, url=proxy.url)
        make_shards(url, tmp_path / "out", options=OPTIONS)
        assert proxy.failed.total() > 10
    assert contents(tree_of(tmp_path / "out")) == expected


@pytest.mark.slow
def test_killed_job_continues(url: str, expected: Tree, tmp_path: Path, tree_of: Callable[[Path], Tree]) -> None:
    command = [sys.executable, "-c", PROGRAM, url, str(tmp_path / "out"), "30"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "waiting\n"
        os.killpg(process.pid, signal.SIGKILL)
    report = make_shards(url, tmp_path / "out", options=OPTIONS)
    assert 0 < report.pages_made < report.num_pages
    assert contents(tree_of(tmp_path / "out")) == expected


def test_changed_object_is_noticed_by_its_version(s3_server: S3Server, bucket: str, tmp_path: Path) -> None:
    """Of the same size, by another ETag; its shard is made again, and no other."""
    raw = tmp_path / "raw"
    make_pages(raw, num_pages=2, seed=1)
    (raw / "rows.jsonl").write_text("".join(json.dumps({"text": f"row {n}"}) + "\n" for n in range(10)))
    url = put(s3_server, bucket, raw)
    out = tmp_path / "out"
    first = make_shards(url, out, options=OPTIONS)
    body = (raw / "rows.jsonl").read_bytes().replace(b"row 9", b"row X")
    s3_server.call("put_object", Bucket=bucket, Key="some/raw/rows.jsonl", Body=body)
    again = make_shards(url, out, options=OPTIONS)
    assert 0 < again.pages_made < first.num_pages
    assert again.made_again[0].startswith("rows.jsonl (pages")


@pytest.mark.slow
def test_store_that_is_down_costs_no_page(
    url: str,
    expected: Tree,
    s3_server: S3Server,
    tmp_path: Path,
    tree_of: Callable[[Path], Tree],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A key that is taken back in the middle: the job ends, says so, and continues when it is given again."""
    with spoiling(s3_server.port, rate=0, faults=("403",)) as proxy:
        s3_server.use(monkeypatch, url=proxy.url)

        def take_key_back(state: MakeShardsProgress) -> None:
            if state.stage == "making shards" and state.pages_done > 20:
                proxy.rate = 1

        with pytest.raises(ShardError, match=r"may not be read.*run the same command again"):
            make_shards(url, tmp_path / "out", options=OPTIONS, on_progress=take_key_back)
        assert proxy.failed.total()
        proxy.rate = 0
        report = make_shards(url, tmp_path / "out", options=OPTIONS)
        assert 0 < report.pages_made < report.num_pages
    assert contents(tree_of(tmp_path / "out")) == expected


def test_what_is_no_store_is_refused(bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for url, expected in (
        ("https://example.org/raw", "a web server does not list its files"),
        (f"s3://{bucket}/nothing", "nothing there"),
        (f"s3://{bucket}-not/raw", "no such bucket"),
        ("unknown://a/b", "unknown"),
    ):
        with pytest.raises(ConfigError, match=expected):
            make_shards(url, tmp_path / "out", options=OPTIONS)
    assert not list(tmp_path.glob("*:*"))
