"""Parts of work: how they are written, and which pieces are whose."""

import pytest

from wdstream.storage.engines.part import WorkPart, parts_that_owe


@pytest.mark.parametrize("of", [1, 3, 7])
def test_every_piece_is_of_one_part(of: int) -> None:
    parts = [WorkPart.parse(f"{number}/{of}") for number in range(1, of + 1)]
    assert [sum(part.owns(piece) for part in parts) for piece in range(50)] == [1] * 50
    assert {f"{part}" for part in parts for piece in (0, 8, 15) if part.owns(piece)} == {
        *parts_that_owe([0, 8, 15], of).split(", ")
    }


@pytest.mark.parametrize("text", ["0/3", "4/3", "3", "1/0", "a/b", "1/3/5", "-1/3", ""])
def test_what_is_no_part_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="from 1/N to N/N, such as 2/60"):
        WorkPart.parse(text)


def test_many_that_owe_are_counted() -> None:
    assert parts_that_owe(range(60), 60).endswith(", 20/60 and 40 more")
