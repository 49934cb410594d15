"""Killed anywhere while an index or its token columns are written, and started again: the bytes of an undisturbed run.

Each moment at which a file is opened for writing, renamed or removed ends one process, by SIGKILL. What is left is an
index that opens, old or new, or an error; never counts that were not written together.
"""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.paths import ROOT

SCRIPT = """
import json, shutil, sys
from pathlib import Path
from tests.helpers.fake_shards import pages, write_shards
from tests.helpers.kills import killed
from wdstream.errors import ShardError
from wdstream.shards.index import merge_index
from wdstream.shards.meta import load_meta
from wdstream.shards.reader import Shards
from wdstream.shards.token_columns import write_paragraphs, write_token_column

NAME = "ab" * 8
OLD, NEW = ([1, 2, 3, 4, 5], None), ([6, 7, 8, 9, 10], [6, 0, 8, 0, 10])
base = Path(sys.argv[1])

def merge(folder):
    merge_index(folder)

def tokens(folder):
    write_token_column(folder, NAME, *NEW)

def paragraphs(folder):
    with write_paragraphs(folder, NAME) as writer:
        writer.add([[6], [3, 4], []])
        writer.add([[9], [5, 5]])

def fresh(folder):
    write_shards(folder, {"s-0.tar": pages("a", 3), "s-1.tar": pages("b", 2)})

def indexed(folder):
    fresh(folder)
    merge_index(folder)
    write_token_column(folder, NAME, *OLD)
    with write_paragraphs(folder, NAME) as writer:
        writer.add([[1], [2], [3], [4], [5]])

def of_before(folder):
    indexed(folder)
    path = folder / "index" / "index.json"
    value = json.loads(path.read_bytes()) | {"schema_version": 1}
    del value["columns"], value["digest"], value["metadata"]
    path.write_bytes(json.dumps(value).encode())

def of_others(folder):
    write_shards(folder, {"s-0.tar": pages("z", 4)})
    merge_index(folder)
    write_token_column(folder, NAME, [1, 2, 3, 4])
    fresh(folder)

CASES = {
    "merge": (fresh, merge), "merge of others": (of_others, merge), "upgrade": (of_before, merge),
    "tokens": (indexed, tokens), "paragraphs": (indexed, paragraphs),
}

def files(folder):
    return {path.name: path.read_bytes() for path in (folder / "index").iterdir()}

def look(folder):
    # what a plan would read: each column checked
    try:
        shards = Shards.open(folder)
        supervised = shards.supervised(NAME)
        counts = shards.tokens(NAME).tolist(), None if supervised is None else supervised.tolist()
    except ShardError as error:
        assert "wdstream " in str(error), error
        return "error"
    return ["old", "new", "others"][[OLD, NEW, ([1, 2, 3, 4], None)].index(counts)]

prepare, work = CASES[sys.argv[2]]
start = base / "start"
prepare(start)
clean = base / "clean"
shutil.copytree(start, clean)
work(clean)
wanted, seen, moment = files(clean), [], 1
while True:
    folder = base / f"killed-{moment}"
    shutil.copytree(start, folder)
    if not killed(folder, work, moment):
        break
    seen.append(look(folder))
    work(folder)
    assert files(folder) == wanted, (moment, sorted(files(folder)), sorted(wanted))
    shutil.rmtree(folder)
    moment += 1
print(len(seen), *sorted(set(seen)))
"""


@pytest.mark.parametrize(
    ("case", "kills", "seen"),
    [
        pytest.param("merge", 27, {"error"}, marks=pytest.mark.slow),  # test_index.py kills merges in every run
        pytest.param("merge of others", 28, {"error", "others"}, marks=pytest.mark.slow),
        ("upgrade", 26, {"error"}),
        ("tokens", 8, {"error", "old"}),
        ("paragraphs", 8, {"old"}),
    ],
)
def test_killed_at_every_moment(tmp_path: Path, case: str, kills: int, seen: set[str]) -> None:
    command = [sys.executable, "-c", SCRIPT, str(tmp_path), case]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    count, *found = done.stdout.split()
    assert int(count) >= kills
    assert set(found) == seen
