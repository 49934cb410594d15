from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from tests.helpers.jobs import Tree
from wdstream.make_shards import MakeShardsOptions, add_token_column, make_shards
from wdstream.make_shards.engines import count_journal
from wdstream.make_shards.engines.count_journal import CountJournal
from wdstream.make_shards.engines.count_tokens import count_rows
from wdstream.make_shards.token_counts import TextCounts, TokenCounter
from wdstream.shards.catalog import INDEX_FOLDER
from wdstream.shards.reader import Shards

ROWS = [TextCounts(tokens=row, supervised=row // 2, paragraphs=(row, 1) * (row % 3)) for row in range(10)]


@pytest.fixture
def counter(tiny_model: Path) -> TokenCounter:
    return TokenCounter.open(tiny_model, with_paragraphs=True)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / INDEX_FOLDER).mkdir()
    return tmp_path


def journal_of(folder: Path, counter: TokenCounter, index: str = "i") -> tuple[CountJournal, list[TextCounts]]:
    """A journal after what it has was read, with the next row to count; and what it had."""
    journal = CountJournal(folder=folder, index=index, counter=counter)
    journal.remove_others()
    return journal, [row for rows in journal.counted(lambda *_: iter(()), 0, 10) for row in rows]


def test_a_journal_continues_where_whole_pieces_end(
    folder: Path, counter: TokenCounter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(count_journal, "_PIECE_ROWS", 4)
    sent: list[Sequence[str]] = []
    journal = CountJournal(folder=folder, index="i", counter=counter, send=sent.append)
    for first in range(0, 10, 2):
        journal.add(ROWS[first : first + 2])
    names = [f"index/counted-{counter.fingerprint}-{first:012d}.npz" for first in (0, 4)]
    assert sent == [[name] for name in names]
    again, found = journal_of(folder, counter)
    assert found == ROWS[:8]
    (folder / names[1]).write_bytes((folder / names[1]).read_bytes()[:-9])
    again, found = journal_of(folder, counter)
    assert found == ROWS[:4]
    assert not (folder / names[1]).exists()
    again.add(ROWS[4:9])
    assert journal_of(folder, counter)[1] == ROWS[:9]
    (folder / names[0]).unlink()
    asked: list[tuple[int, int]] = []

    def count(first: int, end: int) -> Iterator[list[TextCounts]]:
        asked.append((first, end))
        yield ROWS[first:end]

    again = CountJournal(folder=folder, index="i", counter=counter)
    assert [row for rows in again.counted(count, 0, 10) for row in rows] == ROWS
    assert asked == [(0, 4), (9, 10)]
    again.remove()
    assert not [*(folder / INDEX_FOLDER).iterdir()]


def test_counts_of_another_index_or_choice_do_not_count(
    folder: Path, counter: TokenCounter, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(count_journal, "_PIECE_ROWS", 1)
    for index, other in (("another", counter), ("i", TokenCounter.open(tiny_model))):
        journal_of(folder, counter)[0].add(ROWS)
        assert journal_of(folder, other, index)[1] == []
        assert not [*(folder / INDEX_FOLDER).iterdir()]


def test_a_count_that_is_stopped_continues(
    small_raw: Path,
    tmp_path: Path,
    tiny_model: Path,
    tree_of: Callable[[Path], Tree],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(count_journal, "_PIECE_ROWS", 1)
    monkeypatch.setattr("wdstream.make_shards.indexing.ROWS_AT_ONCE", 2)
    for name in ("undisturbed", "out"):
        make_shards(small_raw, tmp_path / name, options=MakeShardsOptions(workers=1))
    add_token_column(tmp_path / "undisturbed", tiny_model, paragraphs=True)

    def stop(done: int, _total: int) -> None:
        if done >= 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        add_token_column(tmp_path / "out", tiny_model, paragraphs=True, workers=1, on_progress=stop)
    pieces = sorted((tmp_path / "out" / INDEX_FOLDER).glob("counted-*"))
    assert len(pieces) == 3
    counted: list[int] = []

    def noted(shards: Shards, counter: TokenCounter, rows: range) -> list[TextCounts]:
        counted.append(rows.start)
        return count_rows(shards, counter, rows)

    monkeypatch.setattr("wdstream.make_shards.indexing.count_rows", noted)
    report = add_token_column(tmp_path / "out", tiny_model, paragraphs=True, workers=1)
    assert report.num_samples == 13
    assert sorted(counted) == [6, 8, 10, 12]
    assert tree_of(tmp_path / "out") == tree_of(tmp_path / "undisturbed")
