"""extract writes the members of pages as they are stored, whole or not at all, and over nothing."""

import json
import shutil
from pathlib import Path

import pytest

from tests.helpers.command import run
from tests.helpers.verify_shards import flip
from tests.helpers.web_server import serving
from wdstream.curation.extract import texts_of
from wdstream.make_shards import MakeShardsOptions, make_shards
from wdstream.shards.reader import Shards


def files_in(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_the_members_byte_for_byte(mixed: Path, tmp_path: Path) -> None:
    """From a folder and from an address; the image is the raw file itself."""
    shards = Shards.open(mixed)
    raw = mixed.parent / "raw"
    for row in range(len(shards)):
        key, members = shards.read(row)
        (tmp_path / "wanted" / key).parent.mkdir(parents=True, exist_ok=True)
        for extension, data in members.items():
            (tmp_path / "wanted" / f"{key}.{extension}").write_bytes(data)
    done = run("extract", mixed, "*", "--out", tmp_path / "one")
    assert done.returncode == 0
    assert "scans/a: " in done.stdout
    assert files_in(tmp_path / "one") == files_in(tmp_path / "wanted")
    assert (tmp_path / "one" / "scans" / "a.png").read_bytes() == (raw / "scans" / "a.png").read_bytes()
    with serving(mixed) as server:
        assert run("extract", server.url, "*", "--out", tmp_path / "two").returncode == 0
    assert files_in(tmp_path / "two") == files_in(tmp_path / "wanted")


def test_a_raw_file_and_texts(mixed: Path) -> None:
    done = run("extract", mixed, "mixed.jsonl:2", "scans/a.png", "scans/a", "--out", "-")
    assert (done.returncode, done.stdout) == (0, "two\nthe text of scans/a.png\n")


def test_turns_of_a_chat_are_told_apart(tmp_path: Path) -> None:
    call = {"type": "function", "function": {"name": "look", "arguments": {"at": "top"}}}
    messages = [
        {"role": "user", "content": "What does it say?\nRead."},
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "assistant", "content": "A page."},
    ]
    rows = [{"messages": messages}, {"text": "\nplain"}]
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "chat.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    make_shards(tmp_path / "raw", tmp_path / "shards", options=MakeShardsOptions(workers=1))
    chat, plain = (page.text for page in texts_of(Shards.open(tmp_path / "shards"), [0, 1]))
    assert chat.split("\n") == [
        "user: What does it say?",
        "Read.",
        'assistant {"tool_calls":[{"type":"function","function":{"name":"look","arguments":{"at":"top"}}}]}: ',
        "assistant: A page.",
    ]
    assert plain == "\nplain"


def test_nothing_is_written_over(mixed: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert run("extract", mixed, "scans/a", "--out", out).returncode == 0
    assert run("extract", mixed, "scans/a", "--out", out).returncode == 0  # the same again does no harm
    (out / "scans" / "a.txt").write_text("mine")
    done = run("extract", mixed, "scans/a", "--out", out)
    assert (done.returncode, (out / "scans" / "a.txt").read_text()) == (2, "mine")
    assert f"{out}/scans/a.txt is there already, with other content: --overwrite replaces it" in done.stderr
    assert run("extract", mixed, "scans/a", "--out", out, "--overwrite").returncode == 0
    assert (out / "scans" / "a.txt").read_text() == "the text of scans/a.png"
    assert not [*out.rglob("*.tmp")]


@pytest.mark.parametrize("flag", [(), ("--overwrite",)])
def test_no_link_leads_out(mixed: Path, tmp_path: Path, flag: tuple[str, ...]) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out" / "scans").symlink_to(tmp_path / "elsewhere")
    done = run("extract", mixed, "scans/a", "--out", tmp_path / "out", *flag)
    assert (done.returncode, [*(tmp_path / "elsewhere").iterdir()]) == (2, [])
    (tmp_path / "out" / "scans").unlink()
    (tmp_path / "out" / "scans").mkdir()
    (tmp_path / "elsewhere" / "a.txt").write_text("mine")
    (tmp_path / "out" / "scans" / "a.txt").symlink_to(tmp_path / "elsewhere" / "a.txt")
    run("extract", mixed, "scans/a", "--out", tmp_path / "out", *flag)
    assert (tmp_path / "elsewhere" / "a.txt").read_text() == "mine"


def test_damage_costs_its_page(mixed: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(mixed, tmp_path / "copy"))
    shards = Shards.open(copy)
    row = shards.find("scans/a")
    assert row is not None
    flip(copy / shards.shard_name(row), int(shards.offset[row]) + 1000)
    done = run("extract", copy, "scans/*", "--out", tmp_path / "out")
    assert (done.returncode, "scans/b_v2.png" in files_in(tmp_path / "out")) == (1, True)
    assert not [name for name in files_in(tmp_path / "out") if name.startswith("scans/a.")]
    assert "scans/a: " in done.stderr
    done = run("extract", copy, "scans/*", "--out", "-")
    assert (done.returncode, done.stdout) == (1, "the text of scans/b.v2.png\nthe text of scans/größe.png\n")
    assert "scans/a: " in done.stderr


def test_what_is_not_there_or_too_much(mixed: Path) -> None:
    done = run("extract", mixed, "scans/b.v3.png")
    assert (done.returncode, done.stdout) == (1, "")
    assert f"{mixed}: no page is called 'scans/b.v3.png'; nearest names: scans/b.v2.png" in done.stderr
    done = run("extract", mixed, "*", "--max-pages", "3")
    assert "7 pages are meant, more than 3: choose fewer, or raise --max-pages" in done.stderr
