"""Files of rows in JSON: lines and arrays, plain and compressed."""

import bz2
import gzip
import json
import lzma
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from wdstream.errors import PageError, RowError
from wdstream.raw.rows import RowSource, parse_line
from wdstream.raw.settings import RawSettings
from wdstream.raw.source import PageRange, RawFile


def test_text_is_taken_word_for_word() -> None:
    text = "\r\n <｜User｜> \x00 \u0002\ttail \n"
    assert parse_line(json.dumps({"text": text}).encode()) == {"text": text}
    assert parse_line(b'{"text": "t", "id": [1], "id": [1]}') == {"text": "t", "id": [1]}
    lone = b'\xef\xbb\xbf{"text": "lone \\ud800, pair \\ud83d\\ude00", "m": ["\\udfff"]}'
    assert parse_line(lone) == {"text": "lone \ufffd, pair \U0001f600", "m": ["\ufffd"]}


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"[]", "a JSON object expected, found list"),
        (b'{"text": "cut', "not readable JSON"),
        (b'{"text": NaN}', "not readable JSON: NaN is not a JSON number"),
        (b"\xff{}", "not UTF-8 (byte 0 of the line)"),
        (b'{"image": "a.png", "text": "t", "image": null}', "field 'image' is given twice, with two values; keep one"),
        (b'{"text": "t", "m": {"\\ud800": 1, "\\udfff": 2}}', "is given twice, with two values"),
        (b"[" * 100_000, "not readable JSON: nested too deeply"),
    ],
)
def test_bad_lines(line: bytes, reason: str) -> None:
    with pytest.raises(RowError) as caught:
        parse_line(line)
    assert reason in str(caught.value)


ROWS = [{"text": f"row {n}", "n": n} for n in range(2500)]
LINES = b"".join(json.dumps(row).encode() + b"\n" for row in ROWS)


def zstd(data: bytes) -> bytes:
    return bytes(pa.compress(data, "zstd", asbytes=True))


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "gz": gzip.compress,
    "xz": lzma.compress,
    "bz2": bz2.compress,
    "zst": zstd,
}


def texts(path: Path, first: int, count: int) -> list[str]:
    num_pages, marks = RowSource().survey(path)
    assert num_pages >= first + count - 1
    file = RawFile(path=path.name, kind="rows", stem="r", num_bytes=1, num_pages=num_pages, marks=marks)
    found = []
    with RowSource().open(PageRange(file=file, first=first, count=count), path, RawSettings()) as reader:
        for number in range(first, first + count):
            try:
                page = reader.read(number)
                assert page is not None
                found.append(str(page.page.meta["n"]))
            except PageError as error:
                found.append(str(error))
    return found


@pytest.mark.parametrize(
    "name", ["a.json", "a.jsonl", "a.jsonl.gz", "a.json.xz", "a.ndjson.bz2", "a.jsonl.zst", "l.json"]
)
def test_rows_of_all_files_in_any_order(tmp_path: Path, name: str) -> None:
    data = json.dumps(ROWS, indent=1).encode() if name in ("a.json", "a.json.xz") else LINES
    pack = PACKERS.get(name.rpartition(".")[2], bytes)
    path = tmp_path / name
    path.write_bytes(pack(data))
    for first, count in ((1, 3), (4, 2), (1999, 3), (2500, 1), (1000, 2)):
        assert texts(path, first, count) == [str(n - 1) for n in range(first, first + count)]


def test_packed_files_that_were_cut(tmp_path: Path) -> None:
    for name, pack in (("a.jsonl.gz", gzip.compress), ("a.jsonl.zst", zstd), ("a.jsonl.xz", lzma.compress)):
        packed = pack(LINES)
        (tmp_path / name).write_bytes(packed[: len(packed) // 2])
        count, _marks = RowSource().survey(tmp_path / name)
        assert count < 2500
        assert "file is damaged, and the rows from here on are lost" in texts(tmp_path / name, count, 1)[0]
    (tmp_path / "a.jsonl.gz").write_bytes(b"\x1f\x8bno")
    assert RowSource().survey(tmp_path / "a.jsonl.gz")[0] == 1


def test_which_json_files_are_rows() -> None:
    yes = (b'[{"a": 1}]', b'{"a": 1}\n{"a": 2}\n', b'{"a": 1}\r\n\r\n{"a"', b"\x1f\x8b", b"[]")
    no = (b'{"a": 1}', b'{\n "a": 1\n}', b'{"a":\n{"b"', b"[1]", b'"a"', b"", b'{"a": 1}\n[]', b'["a"]\n["b"]')
    assert all(map(RowSource().recognises, yes))
    assert not any(map(RowSource().recognises, no))
