import json
from dataclasses import replace
from typing import Any

import pytest

from wdstream.errors import StateError
from wdstream.plan.state import KEEPS_PAGES, MEANING, Cursor, Fingerprints, StreamState

NAMES = ("index", "tokenizer", "tiling", "family", "order", "packing", "plan")
STATE = StreamState(
    step=7,
    passes=1,
    cursors=(Cursor(epoch=2, block=3, position=40), Cursor(count=5)),
    pool=(9, 3, 12),
    fingerprints=Fingerprints({name: f"{place:016x}" for place, name in enumerate(NAMES)}),
)


def check(fingerprints: Fingerprints, **more: Any) -> None:
    fingerprints.check(STATE.fingerprints, step=STATE.step, stream="plan", remedy="begin a new run", **more)


def test_json_and_back() -> None:
    tree = json.loads(STATE.dumps())
    assert tree == STATE.to_json()
    assert (tree["version"], tree["step"], tree["round"]) == (1, 7, 1)
    assert (tree["cursors"], tree["pool"]) == ([[2, 3, 40, 0], [0, 0, 0, 5]], [9, 3, 12])
    assert StreamState.from_json(tree) == STATE
    assert StreamState.from_json(STATE.dumps()) == STATE


def test_under_2_kb_with_ten_million_pages_and_eight_datasets() -> None:
    cursors = tuple(Cursor(epoch=12, block=1234, position=123_456, count=12_345_678) for _ in range(8))
    full = replace(STATE, step=1_234_567, cursors=cursors, pool=tuple(range(9_999_800, 9_999_928)))
    assert len(full.dumps()) < 2000


def test_every_difference_is_named() -> None:
    assert set(MEANING) == {*NAMES, "pixels", "columns", "split"}  # of other pixels, of an index, of pages held out
    other = Fingerprints({name: "0" * 16 for name in NAMES})
    with pytest.raises(StateError) as error:
        check(other)
    for name in NAMES[1:]:
        assert f"\n  {name}: expected {STATE.fingerprints[name]}" in str(error.value)
    assert "index:" not in str(error.value)
    with pytest.raises(StateError, match=r"order: expected 0000000000000004 as in the state, found 0+;"):
        check(other, allow=KEEPS_PAGES)
    check(STATE.fingerprints)


def test_an_unknown_fingerprint_is_a_difference() -> None:
    with pytest.raises(StateError, match="lanes: expected None as in the state, found 8; an unknown setting differs"):
        check(Fingerprints({**STATE.fingerprints, "lanes": "8"}))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 2}, "stream state of version 2: expected 1"),
        ({"pool": None}, "not a stream state"),
        ({"pool": [-1]}, "negative"),
        ({"step": -1}, "negative"),
        ({"cursors": [[0, 0]]}, "not a stream state"),
        ({"cursors": [[0, 0, -1, 0]]}, "negative"),
        ({"fingerprints": []}, "not a stream state"),
        ({"step": "many"}, "not a stream state"),
    ],
)
def test_what_is_no_state(change: dict[str, Any], message: str) -> None:
    with pytest.raises(StateError, match=message):
        StreamState.from_json({**STATE.to_json(), **change})


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", "null", "3"])
def test_text_that_is_no_state(text: str) -> None:
    with pytest.raises(StateError, match="not a stream state"):
        StreamState.from_json(text)
