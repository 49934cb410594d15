"""Lines of JSONL files."""

import json

import pytest

from wdstream.errors import RowError
from wdstream.raw.rows import parse_line


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
