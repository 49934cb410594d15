"""The journal of a survey: what it keeps, what it forgets, and what a kill leaves of it."""

from pathlib import Path

import pytest

from wdstream.make_shards.record import STATE_FOLDER
from wdstream.make_shards.survey.journal import SurveyJournal
from wdstream.raw.source import RawFile
from wdstream.storage.engines.part import WorkPart

FILES = [
    RawFile(path=f"{n}.pdf", kind="pdf", stem=f"{n}", num_bytes=n, num_pages=n, marks=(0, n), texts=("a.txt",))
    for n in range(1, 6)
]
STAMPS = {file.path: f"{file.num_bytes} 7 7" for file in FILES}


@pytest.fixture
def out(tmp_path: Path) -> Path:
    (tmp_path / STATE_FOLDER).mkdir()
    return tmp_path


def write(out: Path, files: list[RawFile], part: WorkPart | None = None) -> None:
    with SurveyJournal(out, part, STAMPS) as journal:
        journal.add(files)


def known(out: Path, stamps: dict[str, str] = STAMPS, part: WorkPart | None = None) -> dict[str, RawFile]:
    return {file.path: file for file in SurveyJournal(out, part, stamps).known}


def test_what_was_surveyed_is_known_while_it_is_the_same(out: Path) -> None:
    write(out, FILES[:2])
    write(out, FILES[2:])
    assert known(out) == {file.path: file for file in FILES}
    moved = {**STAMPS, "1.pdf": "1 8 8"}
    del moved["2.pdf"]
    assert known(out, moved).keys() == {"3.pdf", "4.pdf", "5.pdf"}


@pytest.mark.parametrize("cut", [1, 40, 70])
@pytest.mark.parametrize("left", [b"", b'{"stamp"', b"\0" * 60, b"[]\n"])
def test_torn_end_is_cut_off_and_written_on(out: Path, cut: int, left: bytes) -> None:
    write(out, FILES[:3])
    path = out / STATE_FOLDER / "surveyed-000000.jsonl"
    path.write_bytes(path.read_bytes()[:-cut] + left)
    expected = {"1.pdf", "2.pdf"} | ({"3.pdf"} if (cut, left) == (1, b"") else set())  # all but its end of line
    assert known(out).keys() == expected
    write(out, FILES[3:])
    assert known(out).keys() == expected | {"4.pdf", "5.pdf"}


def test_parts_know_what_others_surveyed_and_remove_their_own(out: Path) -> None:
    parts = [WorkPart(of=2, number=1), WorkPart(of=2, number=2)]
    write(out, FILES[:2], parts[0])
    write(out, FILES[2:], parts[1])
    assert len(known(out, part=parts[1])) == 5
    SurveyJournal(out, parts[0], STAMPS).remove()
    assert known(out).keys() == {"3.pdf", "4.pdf", "5.pdf"}
    SurveyJournal(out, None, STAMPS).remove()
    assert not known(out)
