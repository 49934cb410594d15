from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wdstream.errors import SourceError
from wdstream.raw.reading import file_digest, is_of_lines, lines_digest, merged, note_line, read_bytes, reading
from wdstream.raw.settings import RawSettings

# sha256 of b"abc", its first 16 bytes
ABC = "ba7816bf8f01cfea414140de5dae2223"


def test_digests_are_taken_while_reading(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    path = tmp_path / "deep/x"
    path.write_bytes(b"abc")
    with reading(tmp_path, RawSettings()) as read:
        assert read_bytes(path, limit=3, option="--most") == b"abc"
        assert read.take() == {"deep/x": ABC}
        assert read.take() == {}
    with reading(tmp_path, RawSettings(), with_digests=False) as read:
        assert read_bytes(path, limit=3, option="--most") == b"abc"
        assert read.take() == {}
    assert file_digest(path) == ABC
    with pytest.raises(SourceError, match=r"x of 3 bytes is above the limit of 2 \(--most\)"):
        read_bytes(path, limit=2, option="--most")
    with pytest.raises(SourceError, match="file cannot be read: No such file"):
        read_bytes(tmp_path / "y", limit=2, option="--most")


@given(st.lists(st.binary(max_size=20), min_size=1, max_size=8), st.randoms(use_true_random=False))
def test_lines_have_one_digest_whoever_reads_which(lines: list[bytes], chance: object) -> None:
    numbered = [*enumerate(lines, start=1)]
    whole = lines_digest(numbered)
    chance.shuffle(numbered)  # type: ignore[attr-defined]
    cut = len(numbered) // 2
    assert merged(lines_digest(numbered[:cut]), lines_digest(numbered[cut:])) == whole
    assert is_of_lines(whole) and not is_of_lines(ABC)
    number, line = numbered[0]
    assert lines_digest([(number, line + b"x"), *numbered[1:]]) != whole


def test_lines_are_noted_by_file(tmp_path: Path) -> None:
    with reading(tmp_path, RawSettings()) as read:
        for number, line in ((1, b"a"), (2, b"b")):
            note_line(tmp_path / "rows.jsonl", number, line)
        assert read.take() == {"rows.jsonl": lines_digest([(1, b"a"), (2, b"b")])}
