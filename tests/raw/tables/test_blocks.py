"""What is wrong with one row, batch or block costs no other."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.helpers.tables import read_rows, small_images
from wdstream.raw.reading import reading
from wdstream.raw.settings import RawSettings
from wdstream.raw.source import StoredPage

BYTES = [small_images()[n % 6] for n in range(30)]
TEXTS = [f"page {n}" for n in range(30)]


def table() -> pa.Table:
    return pa.table({"image": BYTES, "text": TEXTS})


def outcomes(path: Path, first: int = 1, count: int | None = None) -> list[str]:
    """For each row its text, or the reason."""
    found = read_rows(path, first, count)
    return [getattr(s.page.segments[1], "text", "") if isinstance(s, StoredPage) else s for s in found]


def test_a_damaged_row_group_costs_its_rows(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    pq.write_table(table(), path, row_group_size=10, use_dictionary=False)
    column = pq.ParquetFile(path).metadata.row_group(1).column(0)
    data = bytearray(path.read_bytes())
    data[column.data_page_offset : column.data_page_offset + 40] = bytes(40)
    path.write_bytes(data)
    found = outcomes(path)
    assert found[:10] + found[20:] == TEXTS[:10] + TEXTS[20:]
    assert all(reason.startswith("rows 11 to 20 cannot be read from row 11 on: ") for reason in found[10:20])
    assert outcomes(path, 21, 2) == TEXTS[20:22]


@pytest.mark.parametrize("new", [pa.ipc.new_stream, pa.ipc.new_file])
def test_an_arrow_file_that_was_cut_is_read_up_to_there(
    tmp_path: Path, new: "type[pa.ipc.RecordBatchStreamWriter]"
) -> None:
    path = tmp_path / "t.arrow"
    with new(path, table().schema) as writer:
        writer.write_table(table(), max_chunksize=10)
    data = path.read_bytes()
    path.write_bytes(data[: data.index(b"page 2page 2"[:6]) + len(data) // 2])
    *sound, reason = outcomes(path)
    assert sound == TEXTS[: len(sound)]
    assert len(sound) in (10, 20)
    assert reason.startswith("all rows from here on are lost: file ends in the middle of a record batch, after ")


def test_text_that_is_not_utf_8_costs_its_row(tmp_path: Path) -> None:
    raw = [b"page \xff" if n == 4 else text.encode() for n, text in enumerate(TEXTS)]
    bad = pa.Array.from_buffers(pa.string(), len(raw), pa.array(raw).buffers())
    pq.write_table(pa.table({"image": BYTES, "text": bad}), tmp_path / "t.parquet")
    found = outcomes(tmp_path / "t.parquet")
    assert found[:4] + found[5:] == TEXTS[:4] + TEXTS[5:]
    assert found[4].startswith("row holds what cannot be read: ")


def test_a_row_above_the_limit_and_a_date_that_python_does_not_have(tmp_path: Path) -> None:
    when = pa.array([0] * 29 + [10**15], pa.int64()).cast(pa.timestamp("s"))
    texts = [*TEXTS[:7], "x" * 100_000, *TEXTS[8:]]
    pq.write_table(pa.table({"image": BYTES, "text": texts, "when": when}), tmp_path / "t.parquet")
    with reading(tmp_path, RawSettings(max_line_bytes=50_000)):
        found = outcomes(tmp_path / "t.parquet")
    assert found[:7] + found[8:29] == TEXTS[:7] + TEXTS[8:29]
    assert found[7] == "row is above the limit of 50000 bytes (--max-line-bytes)"
    assert found[29].startswith("row holds what cannot be read: ")


def test_dictionaries_that_change_in_a_stream(tmp_path: Path) -> None:
    schema = pa.schema([("image", pa.binary()), ("text", pa.dictionary(pa.int8(), pa.string()))])
    path = tmp_path / "t.arrow"
    with pa.ipc.new_stream(path, schema) as writer:
        for start in (0, 10, 20):
            texts = pa.array(TEXTS[start : start + 10]).dictionary_encode().cast(schema.field(1).type)
            writer.write_batch(pa.record_batch([pa.array(BYTES[start : start + 10]), texts], schema=schema))
    assert outcomes(path) == TEXTS
    assert outcomes(path, 12, 3) == TEXTS[11:14]


def test_a_table_that_stays_open_is_read_again_where_it_changed(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    pq.write_table(table(), path)
    assert outcomes(path, 1, 3) == TEXTS[:3]
    assert outcomes(path, 6, 2) == TEXTS[5:7]
    assert outcomes(path, 2, 2) == TEXTS[1:3]
    pq.write_table(pa.table({"image": BYTES, "text": TEXTS[::-1]}), path)
    assert outcomes(path, 9, 2) == TEXTS[::-1][8:10]
