"""Input that changes, shrinks, grows or vanishes, between runs and while one reads it; and quarantined pages again."""

import io
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image
from rich.console import Console

from tests.helpers.jobs import Tree
from tests.helpers.paths import DATA
from wdstream.errors import ConfigError, ShardError
from wdstream.make_shards import MakeShardsOptions, make_shards
from wdstream.make_shards.finish import MakeShardsReport
from wdstream.make_shards.jobs import MakeShardsProgress
from wdstream.shards.reader import Shards

OPTIONS = MakeShardsOptions(workers=1, pages_per_shard=2)
STAMPS = ".make-shards/input.jsonl"


def image(path: Path, colour: str, *, text: str | None = None) -> None:
    """A page whose file has the same size in every colour."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (40, 20), colour).save(path, "BMP")
    if text is not None:
        path.with_suffix(".txt").write_text(text)


def rows(path: Path, count: int, word: str = "row") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps({"text": f"{word} {n}"}) + "\n" for n in range(count)))


def printed(report: MakeShardsReport) -> str:
    console = Console(file=io.StringIO(), width=200)
    report.print(console)
    return console.file.getvalue()  # type: ignore[attr-defined, no-any-return]


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    raw = tmp_path / "raw"
    for number in range(6):
        image(raw / f"{number}.bmp", "red", text=f"page {number}")
    return raw


def same_but_times(tree: Tree, other: Tree) -> bool:
    return {**tree, STAMPS: ""} == {**other, STAMPS: ""}


@pytest.fixture
def fresh(tmp_path: Path, raw: Path, tree_of: Callable[[Path], Tree]) -> Callable[[MakeShardsOptions], Tree]:
    """What make-shards writes to a new folder from RAW as it is now."""

    def make(options: MakeShardsOptions) -> Tree:
        shutil.rmtree(tmp_path / "fresh", ignore_errors=True)
        make_shards(raw, tmp_path / "fresh", options=options)
        return tree_of(tmp_path / "fresh")

    return make


def test_an_edit_of_the_same_size_is_noticed_and_its_shard_made_again(
    raw: Path, tmp_path: Path, tree_of: Callable[[Path], Tree], fresh: Callable[[MakeShardsOptions], Tree]
) -> None:
    out = tmp_path / "out"
    make_shards(raw, out, options=OPTIONS)
    image(raw / "2.bmp", "blue")
    (raw / "5.txt").write_text("page V")
    report = make_shards(raw, out, options=OPTIONS)
    assert (report.pages_made, report.made_again) == (4, ("2.bmp", "5.txt"))
    assert "made again, as their input had changed: 2.bmp, 5.txt" in printed(report)
    assert same_but_times(tree_of(out), fresh(OPTIONS))
    assert make_shards(raw, out, options=OPTIONS).pages_made == 0


def test_a_file_that_was_only_touched_is_not_made_again(raw: Path, tmp_path: Path) -> None:
    make_shards(raw, tmp_path / "out", options=OPTIONS)
    os.utime(raw / "1.bmp")
    report = make_shards(raw, tmp_path / "out", options=OPTIONS)
    assert (report.pages_made, report.made_again) == (0, ())


def test_an_edit_whose_times_nobody_kept_is_found_by_content(raw: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    make_shards(raw, out, options=OPTIONS)
    image(raw / "4.bmp", "blue")
    (out / STAMPS).unlink()
    assert make_shards(raw, out, options=OPTIONS).pages_made == 0
    report = make_shards(raw, out, options=OPTIONS.replace(check_content=True))
    assert (report.pages_made, report.made_again) == (2, ("4.bmp",))


def test_rows_and_their_images_by_the_lines_of_a_shard(tmp_path: Path) -> None:
    raw, out = tmp_path / "raw", tmp_path / "out"
    rows(raw / "a.jsonl", 6)
    image(raw / "a.bmp", "red")
    with (raw / "a.jsonl").open("a") as file:
        file.write('{"text": "see <image>", "images": ["a.bmp"]}\n')
    report = make_shards(raw, out, options=OPTIONS)
    assert "6 of 7 samples have no image" in printed(report)
    (raw / "a.jsonl").write_text((raw / "a.jsonl").read_text().replace("row 3", "ROW 3"))
    report = make_shards(raw, out, options=OPTIONS)
    assert (report.pages_made, report.made_again) == (2, ("a.jsonl (pages 3-4)",))
    image(raw / "a.bmp", "blue")
    report = make_shards(raw, out, options=OPTIONS)
    assert (report.pages_made, report.made_again) == (1, ("a.bmp",))


def test_rows_that_are_cut_while_the_job_runs_are_named_and_the_run_fails(tmp_path: Path) -> None:
    raw, out = tmp_path / "raw", tmp_path / "out"
    image(raw / "0.bmp", "red", text="first")
    rows(raw / "a.jsonl", 2000, "a long row " * 20)

    def cut(state: MakeShardsProgress) -> None:
        if state.stage == "making shards" and not state.pages_done:
            rows(raw / "a.jsonl", 1500, "a long row " * 20)

    report = make_shards(raw, out, options=OPTIONS.replace(pages_per_shard=500), on_progress=cut)
    lost = [entry for entry in report.quarantined if "file ends before line" in entry.reason]
    assert [entry.page for entry in lost] == [*range(1501, 2001)]
    assert report.num_pages == 1501
    assert [name.partition(" ")[0] for name in report.changed] == ["a.jsonl"]
    with pytest.raises(ShardError, match=r"1 files changed while they were read: a\.jsonl .*--retry-quarantined"):
        report.check()
    with pytest.raises(ConfigError, match=r"input was .*; changed: a\.jsonl\n.*--retry-quarantined makes again"):
        make_shards(raw, out, options=OPTIONS.replace(pages_per_shard=500))
    again = make_shards(raw, out, options=OPTIONS.replace(pages_per_shard=500, retry_quarantined=True))
    assert (again.num_pages, again.num_quarantined, again.changed) == (1501, 0, ())


def test_rows_that_come_while_the_job_runs_are_named(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    rows(raw / "a.jsonl", 6)

    def append(state: MakeShardsProgress) -> None:
        if state.stage == "making shards" and not state.pages_done:
            rows(raw / "a.jsonl", 7)

    report = make_shards(raw, tmp_path / "out", options=OPTIONS, on_progress=append)
    assert (report.num_pages, report.changed) == (6, ("a.jsonl (of 108 bytes, now 126)",))


def test_files_that_vanish_or_come_while_the_job_runs_are_named(raw: Path, tmp_path: Path) -> None:
    def move(state: MakeShardsProgress) -> None:
        if state.stage == "making shards" and not state.pages_done:
            (raw / "5.bmp").unlink(missing_ok=True)
            image(raw / "new.bmp", "red")

    report = make_shards(raw, tmp_path / "out", options=OPTIONS, on_progress=move)
    assert report.changed == ("5.bmp", "new.bmp (new)")
    assert [(entry.file, entry.reason) for entry in report.quarantined] == [
        ("5.bmp", "file cannot be read: No such file or directory")
    ]


def test_quarantined_pages_are_tried_again_with_the_bytes_of_sound_ones(
    raw: Path, tmp_path: Path, tree_of: Callable[[Path], Tree], fresh: Callable[[MakeShardsOptions], Tree]
) -> None:
    out = tmp_path / "out"
    (raw / "1.txt").unlink()
    shutil.copy(DATA / "bad/pillow-broken.png", raw / "bad.png")
    (raw / "bad.txt").write_text("text")
    (raw / "broken.pdf").write_bytes(b"%PDF-1.4 nothing")
    first = make_shards(raw, out, options=OPTIONS)
    assert (first.num_pages, first.num_quarantined) == (5, 3)
    (raw / "1.txt").write_text("page 1")
    shutil.copy(DATA / "pages/pdf/diagram-ssh-L.pdf", raw / "broken.pdf")
    by_reason = make_shards(raw, out, options=OPTIONS.replace(retry_reason="No Text"))
    assert (by_reason.num_pages, by_reason.num_quarantined) == (7, 1), "a file that was mended is new input"
    assert same_but_times(tree_of(out), fresh(OPTIONS))
    again = make_shards(raw, out, options=OPTIONS.replace(retry_quarantined=True))
    assert (again.num_pages, again.num_quarantined) == (7, 1)
    assert again.pages_made == 2, "the shard of the page that is still bad"
    assert same_but_times(tree_of(out), fresh(OPTIONS))


def test_higher_limits_are_taken_with_a_retry_and_lower_ones_refused(
    raw: Path, tmp_path: Path, tree_of: Callable[[Path], Tree], fresh: Callable[[MakeShardsOptions], Tree]
) -> None:
    out = tmp_path / "out"
    (raw / "3.txt").write_text("x" * 500)
    low = OPTIONS.replace(max_text_bytes=100)
    report = make_shards(raw, out, options=low)
    assert [entry.reason for entry in report.quarantined] == [
        "3.txt of 500 bytes is above the limit of 100 (--max-text-bytes)"
    ]
    with pytest.raises(ConfigError, match="max_text_bytes was 100"):
        make_shards(raw, out, options=OPTIONS)
    assert make_shards(raw, out, options=OPTIONS.replace(retry_quarantined=True)).num_quarantined == 0
    assert same_but_times(tree_of(out), fresh(OPTIONS))
    with pytest.raises(ConfigError, match="max_text_bytes was None, is 100"):
        make_shards(raw, out, options=low.replace(retry_quarantined=True))


def test_fewer_pages_leave_no_shard_of_before(
    raw: Path, tmp_path: Path, tree_of: Callable[[Path], Tree], fresh: Callable[[MakeShardsOptions], Tree]
) -> None:
    out = tmp_path / "out"
    make_shards(raw, out, options=OPTIONS)
    for number in (0, 4, 5):
        (raw / f"{number}.bmp").unlink()
    report = make_shards(raw, out, options=OPTIONS.replace(retry_quarantined=True))
    assert (report.num_pages, report.num_shards, len(Shards.open(out))) == (3, 2, 3)
    assert same_but_times(tree_of(out), fresh(OPTIONS))


def test_nothing_to_train_on_is_an_error_that_says_why(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    for number in range(3):
        image(raw / f"{number}.bmp", "red")
    (raw / "a.pdf").write_bytes(b"no PDF")
    report = make_shards(raw, tmp_path / "out", options=OPTIONS)
    message = (
        r"out: no shards, since no page can be trained on: all 4 pages and files are quarantined \(3 of no text; 1 of "
    )
    with pytest.raises(ShardError, match=message):
        report.check()


def test_temporary_files_of_a_kill_are_cleaned(raw: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    (out / ".make-shards").mkdir(parents=True)
    (out / "make-shards.json.tmp").write_text("{")
    assert make_shards(raw, out, options=OPTIONS).num_pages == 6
    debris = ["shard-000000.tar.tmp", "quarantine.jsonl.tmp", ".make-shards/survey.jsonl.tmp", "index/crc.npy.tmp"]
    for name in (*debris, ".make-shards/kept-000000-00000-0000001"):
        (out / name).write_text("half")
    (out / ".make-shards/shard-000001.json").write_bytes(bytes(300))
    report = make_shards(raw, out, options=OPTIONS)
    assert (report.pages_made, report.num_pages) == (2, 6)
    assert not [*out.rglob("*.tmp"), *out.rglob("kept-*")]
