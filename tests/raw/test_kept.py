from pathlib import Path

import pytest

from wdstream.raw.kept import kept_reader


class Forward:
    """Notes what is done with it."""

    made = 0

    def __init__(self, _path: Path) -> None:
        type(self).made += 1
        self.next = 1
        self.is_closed = False

    def can_read(self, first: int) -> bool:
        return first >= self.next

    def close(self) -> None:
        self.is_closed = True


def test_a_reader_stays_open_while_it_can_continue(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"1")
    with kept_reader(path, 1, Forward, Forward) as first:
        first.next = 5
    with kept_reader(path, 5, Forward, Forward) as second:
        assert second is first
    with kept_reader(path, 4, Forward, Forward) as third:
        assert third is not first
        assert first.is_closed
    path.write_bytes(b"22")
    with kept_reader(path, 9, Forward, Forward) as fourth:
        assert fourth is not third
    with pytest.raises(ValueError, match="stop"), kept_reader(path, 9, Forward, Forward) as fifth:
        assert fifth is fourth
        raise ValueError("stop")
    assert fourth.is_closed
    assert Forward.made == 3
