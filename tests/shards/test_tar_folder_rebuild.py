"""An index is made again of all tars, by another map, say: it is the one before until all tars could be read."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.command import run
from tests.helpers.fake_shards import fake_image, measure
from tests.helpers.paths import ROOT
from tests.shards.test_tar_folder import write_tar
from wdstream.errors import ShardError
from wdstream.shards.describe import TarRules
from wdstream.shards.reader import Shards
from wdstream.shards.tar_folder import TarFolder
from wdstream.shards.token_columns import write_token_column
from wdstream.text.row_forms import DEFAULT_RULES, rules_with_map

NAME = "ab" * 8
TEXT, CAPTION, ABSENT = ("image=jpg,text=json:" + name for name in ("text", "caption", "captoin"))


def by_map(text: str) -> TarRules:
    return TarRules(rows=rules_with_map(DEFAULT_RULES, text))


def tars(folder: Path) -> Path:
    """Two tars whose pages have a text and a caption of the same length, which the checksums do not tell apart."""
    folder.mkdir(exist_ok=True)
    for letter in "ab":
        fields = {"text": f"text of {letter}", "caption": f"name of {letter}"}
        members = [(f"{letter}.jpg", fake_image(4, 3)), (f"{letter}.json", json.dumps(fields).encode())]
        write_tar(folder / f"{letter}.tar", members)
    return folder


def indexed(folder: Path) -> Path:
    TarFolder(tars(folder), measure, by_map(TEXT)).index()
    write_token_column(folder, NAME, [3, 3])
    return folder


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def read(folder: Path) -> tuple[str, list[str]]:
    """Text of the pages, and names of their metadata."""
    shards = Shards.open(folder)
    segments = [shards.read_page(row).segments[1] for row in range(len(shards))]
    return " ".join(getattr(segment, "text", "") for segment in segments), sorted(shards.metadata)


FAILING = [
    (by_map(ABSENT), "no json:captoin here"),
    (TarRules(rows=rules_with_map(DEFAULT_RULES, None, "llava")), "no sample of these tars can be used"),
    (TarRules(keys="dotted"), "damaged"),
    (by_map(CAPTION), "damaged"),
]


@pytest.mark.parametrize(
    ("rules", "message", "accept_changed"),
    [
        *((rules, message, accept_changed) for rules, message in FAILING for accept_changed in (False, True)),
        # by accept_changed, it would leave out what is damaged
        (TarRules(keys="dotted", skip_bad=True), "damaged", False),
    ],
)
def test_one_that_fails_leaves_all_as_it_was(
    tmp_path: Path, rules: TarRules, message: str, accept_changed: bool
) -> None:
    folder = indexed(tmp_path / "shards")
    if message == "damaged":
        with (folder / "b.tar").open("r+b") as file:
            file.write(b"\xff" * 600)
        message = "b.tar"
    before = files(folder)
    with pytest.raises(ShardError, match=message):
        TarFolder(folder, measure, rules).index(rebuild=True, accept_changed=accept_changed)
    assert files(folder) == before
    assert Shards.open(folder).tokens(NAME).tolist() == [3, 3]


def test_one_that_succeeds_is_what_a_first_one_is(tmp_path: Path) -> None:
    folder = indexed(tmp_path / "shards")
    TarFolder(folder, measure, by_map(CAPTION)).index(rebuild=True)
    assert read(folder) == ("name of a name of b", ["text"])
    first = tars(tmp_path / "first")
    TarFolder(first, measure, by_map(CAPTION)).index()
    assert files(folder) == files(first)


def test_what_is_damaged_may_be_left_out(tmp_path: Path) -> None:
    folder = indexed(tmp_path / "shards")
    with (folder / "b.tar").open("r+b") as file:
        file.write(b"\xff" * 600)
    rules = TarRules(skip_bad=True, rows=by_map(CAPTION).rows)
    report = TarFolder(folder, measure, rules).index(rebuild=True)
    assert [name for name, _ in report.skipped] == ["b.tar"]
    assert read(folder)[0] == "name of a"
    assert not (folder / "b.meta.npz").exists()


def test_the_command_names_what_it_missed_and_the_index_serves_on(tmp_path: Path) -> None:
    folder = indexed(tmp_path / "shards")
    done = run("index", folder, "--rebuild", "--map", ABSENT)
    assert (done.returncode, "near it: json.caption" in done.stderr) == (1, True)
    assert "pages   2 in 2 shards" in run("info", folder).stdout


KILLS = """
import shutil, sys
from pathlib import Path
from tests.helpers.fake_shards import measure
from tests.helpers.kills import killed
from tests.shards.test_tar_folder_rebuild import CAPTION, by_map, files, indexed, read
from wdstream.errors import ShardError
from wdstream.shards.tar_folder import TarFolder

def rebuild(folder):
    TarFolder(folder, measure, by_map(CAPTION)).index(rebuild=True)

base = Path(sys.argv[1])
start, clean = indexed(base / "start"), base / "clean"
shutil.copytree(start, clean)
rebuild(clean)
states, seen, after, moment = [read(start), read(clean)], [], [], 1
while True:
    folder = base / f"killed-{moment}"
    shutil.copytree(start, folder)
    if not killed(folder, rebuild, moment):
        break
    try:
        seen.append(states.index(read(folder)))
    except ShardError as error:
        assert "run `wdstream index" in str(error), error
        seen.append("none")
    other = Path(shutil.copytree(folder, base / "again"))
    TarFolder(other, measure).index()  # by the map that is there, whichever
    after.append(states.index(read(other)))
    shutil.rmtree(other)
    rebuild(folder)
    assert files(folder) == files(clean), moment
    moment += 1
print(moment, seen.count(0), *sorted(set(map(str, seen))), *sorted(set(after)))
"""


@pytest.mark.slow
def test_killed_at_every_moment_it_is_the_one_before_until_the_tars_are_read(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", KILLS, str(tmp_path)], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    moments, before, *found = done.stdout.split()
    assert int(moments) >= 30 and int(before) >= 8
    assert found == ["0", "1", "none", "0", "1"]
