"""Every command on files whose names, keys and contents are written to act on a terminal: nothing of it reaches one.

Spans: commands, make_shards, shards, plan, report, runs.
"""

import io
import json
import os
import re
import shutil
import tarfile
import unicodedata
from pathlib import Path

import pytest

from tests.helpers.command import run
from wdstream.testing import make_pages

ESC = "\x1b]0;owned\x07\x1b[2J\r\x9b31m\u202e\u2066"
"""Sets a terminal's title, clears it, returns to the line's beginning, turns red, and reverses what follows."""
ALLOWED = "\n"


def assert_inert(printed: str, what: str) -> None:
    # The progress bar is not drawn where nobody looks, so that rich itself sends nothing either.
    acting = {char for char in printed if char not in ALLOWED and unicodedata.category(char) in ("Cc", "Cs")}
    acting |= {char for char in printed if char in "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"}
    assert not acting, f"{what} sent {sorted(map(ascii, acting))}: {printed!a}"


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """RAW with hostile names, and good pages; a tar of hostile keys."""
    work = tmp_path_factory.mktemp("hostile")
    raw = make_pages(work / "raw", num_pages=4)
    shutil.copy(raw / "page-00000.jpg", raw / f"scan{ESC}.jpg")
    (raw / f"scan{ESC}.txt").write_text(f"text {ESC}")
    (raw / f"notes.{ESC}").write_text("x")
    (raw / f"broken{ESC}.pdf").write_bytes(f"%PDF-1.4 {ESC}".encode())
    (raw / f"bad{ESC}.png").write_bytes(ESC.encode())
    (raw / f"bad{ESC}.txt").write_bytes(b"\xff")
    (raw / os.fsdecode(b"caf\xe9\x1b[2J.jpg")).write_bytes(b"x")
    (raw / f"gone{ESC}.pdf").symlink_to(f"nowhere{ESC}")
    (raw / f"out{ESC}").symlink_to("/etc")
    row = {"text": "<image>", "images": [f"no{ESC}.png"], f"field{ESC}": 1}
    lines = [row, {f"key{ESC}": 1}, {"text": f"row {ESC}"}]
    (raw / f"rows{ESC}.jsonl").write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))
    (work / "tars").mkdir()
    page = (raw / "page-00000.jpg").read_bytes()
    with tarfile.open(work / "tars/a.tar", "w") as tar:
        for name, data in ((f"k{ESC}.jpg", page), (f"k{ESC}.txt", b"text"), (f"k{ESC}.x{ESC}", b"x"), ("a.txt", b"t")):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    (work / "tars" / f"b{ESC}.tar").write_bytes(ESC.encode() * 200)
    return work


def test_every_command_writes_out_what_would_act(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(work)
    monkeypatch.setenv("COLUMNS", "200")
    cfg = "model: {path: m}\ndata: {train: [{path: shards}], global_batch_size: 1}\ntrain: {max_steps: 1}\n"
    (work / "cfg.yaml").write_text(cfg)
    (work / "bad.yaml").write_text(json.dumps({f"data{ESC}": ESC}))
    commands: list[tuple[str | Path, ...]] = [
        ("make-tiny-model", "m", "--vocab-size", "2048"),
        ("make-shards", "raw", "shards", "--tokenizer", "m", "--workers", "1"),
        ("make-shards", "raw", "shards", "--dpi", "99"),
        ("make-shards", f"raw/scan{ESC}.jpg", "other"),
        ("make-shards", "raw", f"raw/scan{ESC}.jpg"),
        ("index", "tars", "--workers", "1"),
        ("index", "tars", "--workers", "1", "--skip-bad"),
        ("verify", "shards"),
        ("verify", "shards", "--deep", "--json"),
        ("verify", "tars", "--deep"),
        ("verify", f"no{ESC}"),
        ("lengths", "shards", "--tokenizer", "raw"),
        ("lengths", "shards", "--tokenizer", "m", "--workers", "1"),
        ("plan", "cfg.yaml"),
        ("plan", "bad.yaml"),
        ("plan", "cfg.yaml", "--set", f"data.{ESC}=1"),
        ("digest", "cfg.yaml", "--steps", "0:2"),
        ("show", "cfg.yaml"),
        ("where", "cfg.yaml", f"key{ESC}"),
        ("trace", f"run{ESC}", "--step", "0"),
        ("audit", f"run{ESC}"),
        ("evaluate", f"run{ESC}"),
        ("chat", f"run{ESC}", f"page{ESC}.png"),
        ("doctor", f"m{ESC}"),
        ("cache", "info", f"cache{ESC}"),
        ("demo", "--pages", f"raw{ESC}", "--work", f"demo{ESC}"),
    ]
    for command in commands:
        done = run(*command)
        status, printed = done.returncode, done.stdout + done.stderr
        assert printed or status == 0, command
        assert "Traceback" not in printed, f"{command!a}: {printed!a}"
        assert_inert(printed, f"{command!a} ({status})")


def test_make_shards_names_each_of_them(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(work)
    done = run("make-shards", "raw", "named", "--workers", "1", "--no-check-images")
    assert done.returncode == 0
    printed = done.stdout + done.stderr
    assert_inert(printed, "make-shards")
    lines = [json.loads(line) for line in (work / "named/quarantine.jsonl").read_text().splitlines()]
    names = [re.sub(r"\W.*", "", line["file"]) for line in lines]
    assert names == ["bad", "broken", "caf", "gone", "out", "rows", "rows"]
    assert re.search(r"ignored: 1 \.␛\]0;owned", printed)
