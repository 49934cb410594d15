"""Tokens counted shard by shard: the column of a local run; another tokenizer or index on a machine is refused.

Index and tokens by a real Ray are here, too: one start of it is enough for both.
"""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.helpers.fake_shards import write_shards
from tests.helpers.jobs import Tree
from tests.helpers.ray_jobs import ray_program
from tests.helpers.s3_server import S3Server
from tests.helpers.stores import files_of, send
from wdstream.errors import ConfigError, ShardIndexError
from wdstream.make_shards.engines.count_part import count_part
from wdstream.make_shards.engines.count_tokens import CountSetup, RowsToCount, count_shards, count_task
from wdstream.make_shards.indexing import add_token_column, index_folder
from wdstream.make_shards.token_counts import TokenCounter
from wdstream.shards.index import merge_index
from wdstream.shards.reader import Shards
from wdstream.storage.engines.settings import EngineSettings, ShareSettings


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two indexed shards of texts, the first longer than is counted at once."""
    texts = {
        f"{name}.tar": {f"{name}/{n:04d}": {"txt": f"text {name} {n}\n\nand more".encode()} for n in range(count)}
        for name, count in (("a", 70), ("b", 3))
    }
    shards = write_shards(tmp_path_factory.mktemp("count") / "shards", texts)
    merge_index(shards)
    return shards


def setup_of(folder: Path, tokenizer: Path) -> CountSetup:
    counter = TokenCounter.open(tokenizer)
    return CountSetup(
        shards=str(folder),
        index=Shards.open(folder).catalog.fingerprint,
        tokenizer=tokenizer,
        fingerprint=counter.fingerprint,
        with_paragraphs=False,
        allow_tokens=(),
    )


def test_the_counts_of_a_local_run(folder: Path, tiny_model: Path) -> None:
    setup = setup_of(folder, tiny_model)
    by_shard = list(count_shards(Shards.open(folder), setup, EngineSettings(), 1, 0, 73))
    assert [len(counts) for counts in by_shard] == [70, 3]
    add_token_column(folder, tiny_model)
    expected = Shards.open(folder).tokens(setup.fingerprint).tolist()
    assert [count.tokens for counts in by_shard for count in counts] == expected


def test_another_tokenizer_or_index_on_a_machine(folder: Path, tiny_model: Path) -> None:
    setup = setup_of(folder, tiny_model)
    other = RowsToCount(setup=replace(setup, fingerprint="ab" * 8), first=0, end=3)
    with pytest.raises(
        ConfigError, match=f"{tiny_model} is the tokenizer {setup.fingerprint}, {'ab' * 8} on the machine"
    ):
        count_task(other)
    with pytest.raises(ShardIndexError, match="on the machine that started the job"):
        count_task(RowsToCount(setup=replace(setup, index="cd" * 8), first=0, end=3))


def test_parts_and_then_the_whole(
    folder: Path, tiny_model: Path, tmp_path: Path, tree_of: Callable[[Path], Tree], s3_server: S3Server, bucket: str
) -> None:
    """In a folder and in a store; the last command counts what a part owes, and nothing else."""
    for name in ("whole", "parts"):
        shutil.copytree(folder, tmp_path / name)
    url = send(s3_server, folder, bucket, "set")
    add_token_column(tmp_path / "whole", tiny_model, paragraphs=True)
    for place in (tmp_path / "parts", url):
        for number in (3, 1, 1):
            share = ShareSettings(part=f"{number}/3")
            part = count_part(place, tiny_model, share=share, paragraphs=True, workers=1)
            assert part.num_samples == (25 if number == 3 else 24) and part.num_tokens
        seen: list[tuple[int, int]] = []
        add_token_column(place, tiny_model, paragraphs=True, on_progress=lambda *state, seen=seen: seen.append(state))
        assert [done for done, _ in seen] == [24, 48, 73]
    assert tree_of(tmp_path / "parts") == tree_of(tmp_path / "whole")
    assert s3_server.objects(bucket, "set") == files_of(tmp_path / "whole")


@pytest.mark.slow
def test_index_and_tokens_by_ray(
    folder: Path, tmp_path: Path, tiny_model: Path, tree_of: Callable[[Path], Tree]
) -> None:
    for name in ("here", "by_ray"):
        (tmp_path / name).mkdir()
        for tar in folder.glob("*.tar"):
            (tmp_path / name / tar.name).write_bytes(tar.read_bytes())
    index_folder(tmp_path / "here", tiny_model, workers=1)
    job = ["-m", "wdstream", "index", str(tmp_path / "by_ray"), "--tokenizer", str(tiny_model)]
    with ray_program([*job, "--engine", "ray", "--workers", "2"]) as program:
        status, written = program.ends()
    assert status == 0, written
    assert tree_of(tmp_path / "by_ray") == tree_of(tmp_path / "here")
