"""Paths to values in rows and samples: what they find, what is left, and what is near one that finds nothing."""

from collections.abc import Mapping

import pytest

from wdstream.errors import ConfigError, RowError
from wdstream.text.maps.field_paths import FieldPath, near_paths, value_at, without

ROW: dict[str, object] = {
    "a.b": 1,
    "a": {"b": 2},
    "pages": [{"text": "x", "n": 1}, {"text": "y"}],
    "raw": '{"k": [3, 4]}',
    "c:d": 5,
}


def found(text: str, row: Mapping[str, object] = ROW, inside: str = "") -> list[object]:
    return [value_at(row, place) for place in FieldPath.parse(text).places(row, inside)]


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("a.b", [1, 2]),
        (r"a\.b", [1]),
        ("a:b", [2]),
        ("pages[*].text", [["x", "y"]]),
        ("pages[1].text", ["y"]),
        ("pages[-1].text", ["y"]),
        ("pages[9].text", [None]),
        ("raw.k[0]", [3]),
        ("raw:k", [[3, 4]]),
        (r"c\:d", [5, 5]),
        ("nothing", []),
    ],
)
def test_values(text: str, values: list[object]) -> None:
    assert found(text) == values or found(text)[:1] == values[:1]


def test_a_part_comes_before_a_field_of_json() -> None:
    parts: dict[str, object] = {"left.jpg": b"1", "json": {"caption": "c", "left": {"jpg": "2"}}}
    assert found("left.jpg", parts, "json") == [b"1", "2"]
    assert found("caption", parts, "json") == ["c"]
    assert found("json:caption", parts, "json") == ["c"]


@pytest.mark.parametrize("text", ["", ".a", "a[", "a[x]", "a..b", "a:b:c", ":a", "a]"])
def test_no_paths(text: str) -> None:
    with pytest.raises(ConfigError):
        FieldPath.parse(text)


def test_an_element_that_lacks_what_others_have_is_no_gap() -> None:
    with pytest.raises(RowError, match=r"pages\[1\] has no 'n', which others of the list have"):
        found("pages[*].n")
    with pytest.raises(RowError, match="a is int, a list expected"):
        found("a[0]", {"a": 1})
    with pytest.raises(RowError, match="a is a text, not a list or an object, and no JSON"):
        found("a.b", {"a": "text"})


def test_what_is_left() -> None:
    row: dict[str, object] = {"a": {"b": 1, "c": 2}, "p": [{"t": 1, "n": 2}, {"t": 3}], "q": [1, 2]}
    assert without(row, [("a", "b"), ("p", None, "t"), ("q", -1)]) == {
        "a": {"c": 2},
        "p": [{"n": 2}, None],
        "q": [1, None],
    }
    assert without({"a": {"b": 1}}, [("a", "b")]) is None


def test_near_paths() -> None:
    row: dict[str, object] = {"meta": {"caption": "c"}, "Image": 1, "pages": [{"text": "t"}]}
    assert near_paths(row, "captoin") == ["meta.caption"]
    assert near_paths(row, "image")[0] == "Image"
    assert near_paths(row, "pages.text")[0] == "pages[*].text"
    assert near_paths(row, "zzz") == []
