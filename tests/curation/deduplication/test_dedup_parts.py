"""Parts of dedup and their merge: the list of one run."""

from pathlib import Path

import pytest

from tests.helpers.mixed_shards import write_mixed
from wdstream.curation.deduplication.dedup import dedup, dedup_part
from wdstream.curation.deduplication.dedup_options import DedupOptions
from wdstream.errors import ConfigError, ShardError

OPTIONS = DedupOptions(by="image", workers=1)


def test_parts_give_the_list_of_one_run(tmp_path: Path) -> None:
    given = [write_mixed(tmp_path / name, name, 12, per_shard=4) for name in ("a", "b")]
    dedup(given, tmp_path / "whole.jsonl", options=OPTIONS)
    lists = [tmp_path / f"p{number}.jsonl" for number in (1, 2, 3)]
    for number, path in enumerate(lists, start=1):
        seen: list[tuple[int, int]] = []
        options = OPTIONS.replace(part=f"{number}/3")
        done = dedup_part(given, path, options=options, on_progress=lambda *state, seen=seen: seen.append(state))
        assert seen == [(4, 8), (8, 8)]
        assert (done.num_shards, done.num_pages, path.exists()) == (2, 8, False)
    places = [f"{path}.marks" for path in lists]
    with pytest.raises(ShardError, match=r"2 of 6 shards are missing.*: 000001, 000004; run --part 2/3 again"):
        dedup(given, tmp_path / "list.jsonl", options=OPTIONS.replace(merge_from=(places[0], places[2])))
    assert not (tmp_path / "list.jsonl").exists()
    found = dedup(given, tmp_path / "list.jsonl", options=OPTIONS.replace(merge_from=tuple(places)))
    assert found.counts.total()
    assert (tmp_path / "list.jsonl").read_bytes() == (tmp_path / "whole.jsonl").read_bytes()


def test_the_wrong_function_says_which(tmp_path: Path) -> None:
    given = [write_mixed(tmp_path / "one", "a", 4)]
    with pytest.raises(ConfigError, match="dedup_part does a part"):
        dedup(given, tmp_path / "list.jsonl", options=OPTIONS.replace(part="1/2"))
    with pytest.raises(ConfigError, match="dedup does the whole"):
        dedup_part(given, tmp_path / "list.jsonl", options=OPTIONS)
