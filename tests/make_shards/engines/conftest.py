"""The small raw folder as shards of a single local run, to compare with."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.helpers.jobs import Tree
from wdstream.make_shards import MakeShardsOptions, make_shards

PAGES = 3
"""Per shard: there are 6 or so."""


@pytest.fixture(scope="session")
def whole_folder(tmp_path_factory: pytest.TempPathFactory, small_raw: Path) -> Path:
    """The output of a single local run, with a hold-out."""
    out = tmp_path_factory.mktemp("whole") / "out"
    make_shards(small_raw, out, options=MakeShardsOptions(pages_per_shard=PAGES, holdout="3", workers=1))
    return out


@pytest.fixture(scope="session")
def whole(whole_folder: Path, tree_of: Callable[[Path], Tree]) -> Tree:
    """Digests of all of its files."""
    return tree_of(whole_folder)
