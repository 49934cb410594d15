"""Arrays of any size, in pieces of any size: the members are those that `json` finds."""

import io
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wdstream.errors import SourceError
from wdstream.raw import json_array
from wdstream.raw.json_array import find_members, is_array_of_objects, start_of_list
from wdstream.raw.reading import reading
from wdstream.raw.settings import RawSettings

TEXT = st.text(st.sampled_from('ab"\\{}[],:\n é漢😀'), max_size=12)
VALUE = st.recursive(
    TEXT | st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)


class Pieces(io.BytesIO):
    """A file that gives a few bytes at a time."""

    def __init__(self, data: bytes, size: int) -> None:
        super().__init__(data)
        self._size = size

    def read(self, size: int | None = -1, /) -> bytes:
        return super().read(self._size if size is None or size < 0 else min(size, self._size))


def members(data: bytes, size: int = 1 << 20, place: int = 0) -> list[bytes | None]:
    file = Pieces(data, size)
    file.seek(place)
    return [row for _place, row in find_members(file, place)]


@given(
    st.lists(st.dictionaries(TEXT, VALUE, max_size=4), max_size=6),
    st.integers(1, 9),
    st.sampled_from([None, 0, 2]),
    st.booleans(),
)
def test_members_are_those_that_json_finds(
    rows: list[dict[str, object]], size: int, indent: int | None, ascii_only: bool
) -> None:
    data = json.dumps(rows, indent=indent, ensure_ascii=ascii_only).encode()
    file = Pieces(data, size)
    found = list(find_members(file, 0))
    assert [json.loads(row or b"") for _place, row in found] == rows
    for number, (place, row) in enumerate(found):
        assert members(data, size, place)[0] == row
        assert len(members(data, size, place)) == len(rows) - number


def test_what_surrounds_and_what_is_wrong_with_one_member(tmp_path: Path) -> None:
    assert members(b'\xef\xbb\xbf \n[ {"a": 1} ,\n {"b": nothing}, 7, [1, 2], "x, y", {"c": 2}, ] \n') == [
        *(b'{"a": 1}', b'{"b": nothing}', b"7", b"[1, 2]", b'"x, y"', b'{"c": 2}')
    ]
    assert members(b"[]") == members(b" [ ] ") == []
    with reading(tmp_path, RawSettings(max_line_bytes=20)):
        data = b'[{"a": 1}, {"long": "' + b"x, ]}" * 100 + b'"}, {"b": 2}]'
        assert members(data) == members(data, 7) == [b'{"a": 1}', None, b'{"b": 2}']


@pytest.mark.parametrize(
    ("data", "num_sound", "reason"),
    [
        (b'[{"a": 1}, {"b": 2}', 1, "file ends before its array does"),
        (b'[{"a": 1}, {"b": "x', 1, "file ends before its array does"),
        (b'[{"a": 1}', 0, "file ends before its array does"),
        (b'[{"a": 1}] [{"b": 2}]', 1, "file continues after its array has ended"),
        (b"", 0, "file ends before its array does"),
    ],
)
def test_damage_costs_the_rows_after_it(data: bytes, num_sound: int, reason: str) -> None:
    for size in (1, 5, 1 << 20):
        found = []
        with pytest.raises(SourceError, match=reason):
            for _place, row in find_members(Pieces(data, size), 0):
                found.append(row)
        assert len(found) == num_sound


def test_arrays_of_objects_by_their_first_bytes() -> None:
    assert all(map(is_array_of_objects, (b'[{"a"', b" \n[\n  {", b"[]", b"\xef\xbb\xbf[{")))
    assert not any(map(is_array_of_objects, (b'{"a": [{', b"[1, 2]", b'["a"]', b"[[{", b"", b"text", b"[")))


@pytest.mark.parametrize("start", ["", "\ufeff\n "])
def test_an_object_with_a_list_of_rows(start: str) -> None:
    head = start + '{"dataset_name": "doc\u00fcqa", "meta": {"data": [{"x": 1}]}, "data" : '
    data = (head + '[ {"a": 1}, {"b": "]"} ], "version": [1.0], "splits": ["train"]}\n').encode()
    place = len(head.encode())
    assert start_of_list(data) == place
    for size in (1, 5, 1 << 20):
        file = Pieces(data, size)
        found = list(find_members(file, 0, start=place))
        assert [row for _place, row in found] == [b'{"a": 1}', b'{"b": "]"}']
        file.seek(found[1][0])
        assert list(find_members(file, found[1][0], start=place)) == found[1:]
    more = Pieces(data.replace(b"[1.0]", b'[{"image": "a.png"}]'), 1 << 20)
    with pytest.raises(SourceError, match="file has another list of objects after that of its rows"):
        list(find_members(more, 0, start=place))


def test_objects_without_a_list_of_rows() -> None:
    for text in (
        '{"data": {"a": 1}}',
        '{"data": [1]}',
        '{"images": [{"id": 1}]}',
        '{"a": [',
        "[{",
        "",
        '{"data"',
        "{1: 2}",
    ):
        assert start_of_list(text.encode()) is None


def test_pieces_are_of_a_size_that_memory_has() -> None:
    assert json_array._PIECE_BYTES <= 1 << 20
