"""Tables that `datasets` and pyarrow write, row by row, next to what was put into them."""

import subprocess
import sys
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest

from tests.helpers.tables import SIDES, read_rows, small_images, surveyed
from wdstream.errors import SourceError
from wdstream.raw.source import StoredPage
from wdstream.records import ImageSegment, Segment, TextSegment
from wdstream.shards.page_members import is_row_of_ours

COUNT = 250


@pytest.fixture(autouse=True)
def _torch_is_not_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """`datasets` imports torch where `sys.modules` names it, also as what cannot be imported (`--without-torch`)."""
    if sys.modules.get("torch", sys) is None:
        monkeypatch.delitem(sys.modules, "torch")


def page_set(count: int = COUNT) -> datasets.Dataset:
    """Pages as `datasets` has them: bytes and a path."""
    images = small_images()
    rows = {
        "image": [{"bytes": images[n % 6], "path": f"{n}.png"} for n in range(count)],
        "text": [f"page {n}" for n in range(count)],
        "score": [n / 4 for n in range(count)],
    }
    features = {"image": datasets.Image(), "text": datasets.Value("string"), "score": datasets.Value("float64")}
    return datasets.Dataset.from_dict(rows, features=datasets.Features(features))


def assert_pages(found: list[StoredPage | str], first: int = 0) -> None:
    """That these are the pages of `page_set`, from page `first`."""
    for number, stored in enumerate(found, first):
        assert isinstance(stored, StoredPage)
        assert stored.page.images == (small_images()[number % 6],)
        assert stored.sizes == (SIDES,)
        assert stored.page.segments == (ImageSegment(index=0), TextSegment(text=f"page {number}"))
        assert (stored.page.meta["line"], stored.page.meta["score"]) == (number + 1, number / 4)
        assert is_row_of_ours(stored.page.meta)


def test_parquet_of_datasets(tmp_path: Path) -> None:
    path = tmp_path / "train-00000-of-00001.parquet"
    page_set().to_parquet(path, batch_size=100)
    assert surveyed(path).num_pages == COUNT
    assert pq.ParquetFile(path).num_row_groups > 1
    assert_pages(list(read_rows(path)))
    assert_pages(list(read_rows(path, 99, 5)), 98)


def test_a_folder_that_datasets_saved(tmp_path: Path) -> None:
    page_set().save_to_disk(tmp_path / "set", num_shards=2)
    found = []
    for path in sorted((tmp_path / "set").glob("*.arrow")):
        found += list(read_rows(path))
    assert len(found) == COUNT
    for number, stored in enumerate(found):
        assert isinstance(stored, StoredPage)
        assert stored.page.images == (small_images()[number % 6],)
        assert stored.page.segments[1] == TextSegment(text=f"page {number}")


@pytest.mark.parametrize("name", ["set.feather", "stream.arrow", "file.arrow", "zstd.arrow", "old.arrow"])
def test_files_and_streams_of_arrow(tmp_path: Path, name: str) -> None:
    table = page_set().with_format("arrow")[:]
    path = tmp_path / name
    if name == "set.feather":
        pyarrow.feather.write_feather(table, path, chunksize=99)
    else:
        version = pa.ipc.MetadataVersion.V4 if name == "old.arrow" else pa.ipc.MetadataVersion.V5
        options = pa.ipc.IpcWriteOptions(
            compression="zstd" if name == "zstd.arrow" else None,
            metadata_version=version,
            use_legacy_format=name == "old.arrow",
        )
        new = pa.ipc.new_stream if name == "stream.arrow" else pa.ipc.new_file
        with new(path, table.schema, options=options) as writer:
            writer.write_table(table, max_chunksize=60)
    assert surveyed(path).num_pages == COUNT
    assert_pages(list(read_rows(path)))
    assert_pages(list(read_rows(path, 118, 5)), 117)
    assert_pages(list(read_rows(path, 3, 2)), 2)


def test_a_table_is_what_its_bytes_are_not_its_name(tmp_path: Path) -> None:
    for name, write in (("a.arrow", pq.write_table), ("a.parquet", pyarrow.feather.write_feather)):
        write(page_set(3).with_format("arrow")[:], tmp_path / name)
        assert_pages(list(read_rows(tmp_path / name)))


LETTER = pa.array(["letter"] * 2)
A, B, C, D, *_ = small_images()
IMAGE, TEXT = "image", TextSegment(text="letter")
COLUMNS = {
    "bytes": {"image": pa.array([A, B]), "text": LETTER},
    "large_binary": {"image": pa.array([A, B], pa.large_binary()), "text": LETTER.cast(pa.large_string())},
    "binary_view": {"image": pa.array([A, B], pa.binary_view()), "text": LETTER.cast(pa.string_view())},
    "dictionary": {"image": pa.array([A, B]).dictionary_encode(), "text": LETTER.dictionary_encode()},
    "bytes and path": {"image": pa.array([{"bytes": A, "path": None}, {"bytes": B, "path": "b"}]), "text": LETTER},
    "a list": {"images": pa.array([[{"bytes": A, "path": None}], [{"bytes": B, "path": None}]]), "text": LETTER},
    "a large list": {"images": pa.array([[A], [B]], pa.large_list(pa.binary())), "text": LETTER},
    "a fixed list": {"images": pa.array([[A], [B]], pa.list_(pa.binary(), 1)), "text": LETTER},
    "text as bytes": {"image": pa.array([A, B]), "text": LETTER.cast(pa.binary())},
    "a caption": {"image": pa.array([A, B]), "caption": LETTER},
    "nulls": {"image": pa.array([A, B]), "images": pa.nulls(2), "text": LETTER, "content": pa.nulls(2)},
}


@pytest.mark.parametrize("form", COLUMNS)
def test_columns_of_images_and_texts(tmp_path: Path, form: str) -> None:
    table = pa.table(COLUMNS[form])
    pq.write_table(table, tmp_path / "t.parquet")
    pyarrow.feather.write_feather(table, tmp_path / "t.feather")
    for name in ("t.parquet", "t.feather"):
        found = list(read_rows(tmp_path / name))
        assert [stored.page.images for stored in found if isinstance(stored, StoredPage)] == [(A,), (B,)]
        assert [stored.page.segments for stored in found if isinstance(stored, StoredPage)] == [
            (ImageSegment(index=0), TEXT)
        ] * 2


def shape(segments: tuple[Segment, ...]) -> str:
    return "".join("*" if isinstance(segment, ImageSegment) else getattr(segment, "text", "") for segment in segments)


def picture(data: bytes) -> dict[str, object]:
    return {"bytes": data, "path": None}


FORMS: dict[str, tuple[dict[str, object], tuple[bytes, ...], str]] = {
    "text, images": ({"text": "<image> and <image>", "images": [picture(A), picture(B)]}, (A, B), "* and *"),
    "content": (
        {"content": [{"type": "image", "text": None}, {"type": "text", "text": "read"}], "images": [picture(A)]},
        (A,),
        "*read",
    ),
    "messages, TRL": (
        {
            "messages": [
                {"role": "user", "content": [{"type": "image", "text": None}, {"type": "text", "text": "Read."}]},
                {"role": "assistant", "content": [{"type": "text", "text": "Yes."}]},
            ],
            "images": [picture(A)],
        },
        (A,),
        "*Read.Yes.",
    ),
    "messages with <image>, LLaMA-Factory": (
        {
            "messages": [{"role": "user", "content": "<image>Read."}, {"role": "assistant", "content": "Yes."}],
            "images": [picture(A)],
        },
        (A,),
        "*Read.Yes.",
    ),
    "conversations, LLaVA": (
        {
            "id": "1",
            "image": picture(A),
            "conversations": [{"from": "human", "value": "<image>\nRead."}, {"from": "gpt", "value": "Yes."}],
        },
        (A,),
        "*\nRead.Yes.",
    ),
    "query, response, ms-swift": (
        {"query": "<image>Read.", "response": "Yes.", "images": [picture(A)]},
        (A,),
        "*Read.Yes.",
    ),
    "alpaca": (
        {"instruction": "Read", "input": "this.", "output": "Yes.", "image": picture(A)},
        (A,),
        "*Read\nthis.Yes.",
    ),
    "DocVQA": ({"question": "Read?", "answers": ["Yes.", "Y"], "image": picture(A)}, (A,), "*Read?Yes."),
    "Docmatix": (
        {
            "images": [picture(A), picture(B)],
            "texts": [{"user": "Read.", "assistant": "Yes.", "source": "PDFA key: 1"}],
        },
        (A, B),
        "**Read.Yes.",
    ),
    "text only, FinePDFs": ({"text": "A report.", "id": "<urn:uuid:1>", "language": "eng_Latn"}, (), "A report."),
}


@pytest.mark.parametrize("form", FORMS)
def test_forms_of_rows(tmp_path: Path, form: str) -> None:
    row, images, text = FORMS[form]
    other = {"text": "next", "later": 1}  # so that Arrow adds nulls to both
    pq.write_table(
        pa.Table.from_pylist([row, other], pa.Table.from_pylist([{**row, **other}]).schema), tmp_path / "t.parquet"
    )
    found, _next = read_rows(tmp_path / "t.parquet")
    if not isinstance(found, StoredPage):
        raise AssertionError(found)
    assert found.page.images == images
    assert shape(found.page.segments) == text


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "file is empty"),
        (b"PAREsomething", "parquet file is encrypted: decrypt it"),
        (b"FEA1something", "Feather of version 1 is not read: write it with pyarrow.feather.write_feather"),
        (b"PAR1 and no more", "not readable as parquet: "),
        (b"text, not a table", "no message of Arrow at byte 0"),
        (b"ARROW1\0\0", "file ends in the middle"),
    ],
)
def test_what_is_no_table(tmp_path: Path, data: bytes, reason: str) -> None:
    (tmp_path / "x.parquet").write_bytes(data)
    with pytest.raises(SourceError, match=reason):
        surveyed(tmp_path / "x.parquet")


def test_a_table_without_rows(tmp_path: Path) -> None:
    empty = page_set(3).with_format("arrow")[:].slice(0, 0)
    pq.write_table(empty, tmp_path / "x.parquet")
    pyarrow.feather.write_feather(empty, tmp_path / "x.feather")
    assert surveyed(tmp_path / "x.parquet").num_pages == surveyed(tmp_path / "x.feather").num_pages == 0


def test_a_pointer_of_git_lfs(tmp_path: Path) -> None:
    path = tmp_path / "train.parquet"
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 5\n")
    with pytest.raises(SourceError, match="is a pointer of Git LFS, not the file itself: fetch it with `git lfs pull`"):
        surveyed(path)


def test_a_row_group_of_many_pages_needs_the_memory_of_two(tmp_path: Path) -> None:
    path = tmp_path / "large.parquet"
    rows = pa.table({"image": [bytes(300_000)] * 200, "text": ["a page"] * 200})
    pq.write_table(rows, path, row_group_size=200, use_dictionary=False, compression="none", write_batch_size=16)
    assert pq.ParquetFile(path).metadata.row_group(0).total_byte_size > 60_000_000
    program = (
        "import sys, pyarrow, pathlib; from wdstream.raw.tables.parquet import open_parquet\n"
        "blocks = open_parquet(pathlib.Path(sys.argv[1])).blocks()\n"
        "print(sum(batch.num_rows for block in blocks for batch in block.batches()))\n"
        "print(pyarrow.default_memory_pool().max_memory())"
    )
    done = subprocess.run([sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=True)
    num_rows, most = map(int, done.stdout.split())
    assert num_rows == 200 and most < 32_000_000
