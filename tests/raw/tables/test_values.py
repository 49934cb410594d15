import base64
import datetime
import uuid
from decimal import Decimal

import pytest

from wdstream.errors import RowError
from wdstream.raw.tables.values import json_metadata, row_content


def test_values_that_json_does_not_have() -> None:
    zone = datetime.timezone(datetime.timedelta(hours=2))
    fields = {
        "when": datetime.datetime(2024, 5, 1, 12, 0, 0, 5, tzinfo=zone),
        "day": datetime.date(2024, 5, 1),
        "hour": datetime.time(12, 30),
        "took": datetime.timedelta(minutes=1, milliseconds=500),
        "price": Decimal("1.50"),
        "count": Decimal("3"),
        "long": Decimal("1.2345678901234567"),
        "not": float("nan"),
        "scores": [float("inf"), 1.5],
        "map": [("a", 1), ("b", None)],
        "name": b"Bj\xc3\xb6rn",
        "hash": b"\x00\xff",
        "id": uuid.UUID(int=1),
        "deep": {"list": [{"day": datetime.date(2020, 1, 2)}], 1: "number"},
    }
    assert json_metadata(fields) == {
        "when": "2024-05-01T12:00:00.000005+02:00",
        "day": "2024-05-01",
        "hour": "12:30:00",
        "took": 60.5,
        "price": 1.5,
        "count": 3,
        "long": "1.2345678901234567",
        "scores": [None, 1.5],
        "map": [["a", 1], ["b", None]],
        "name": "Björn",
        "hash": base64.b64encode(b"\x00\xff").decode(),
        "id": "00000000-0000-0000-0000-000000000001",
        "deep": {"list": [{"day": "2020-01-02"}], "1": "number"},
    }


def test_what_has_no_place_in_metadata() -> None:
    with pytest.raises(RowError, match="column 'sound' holds 70,000 bytes that are not an image; metadata have 65,536"):
        json_metadata({"sound": bytes(70_000)})
    nested: object = 1
    for _ in range(100):
        nested = [nested]
    with pytest.raises(RowError, match="nested more than 64 deep"):
        json_metadata({"x": nested})


def test_rows_that_differ_have_different_content() -> None:
    rows: list[dict[str, object]] = [
        {"a": "1", "b": "2"},
        {"a": "12", "b": ""},
        {"a": 1, "b": "2"},
        {"a": b"1", "b": "2"},
        {"a": True, "b": "2"},
        {"a": 1.0, "b": "2"},
        {"a": None, "b": "2"},
        {"a": ["1", "2"]},
        {"a": [["1"], "2"]},
        {"a": {"b": "2"}},
        {"b": "2", "a": "1"},
    ]
    assert len({row_content(row) for row in rows}) == len(rows)
    assert row_content({"a": "ü", "n": 1}) == b"{2:s1:as2:\xc3\xbcs1:no5:int 1"
