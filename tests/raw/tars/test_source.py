"""Tars of others, written by webdataset and by tarfile, through make-shards."""

import bz2
import gzip
import io
import json
import lzma
import random
import tarfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pyarrow
import pyarrow.parquet as pq
import pytest
import webdataset
from PIL import Image

from tests.helpers.raw_pages import RawPages, read_raw, text_of
from wdstream.errors import ConfigError
from wdstream.make_shards import MakeShardsOptions, MakeShardsReport, index_folder, make_shards
from wdstream.raw.tars.source import sample_key
from wdstream.records import ImageSegment, Page, TextSegment
from wdstream.shards.layout import validate_key
from wdstream.shards.reader import Shards
from wdstream.shards.tar_header import make_header


def picture(number: int, form: str = "PNG", size: tuple[int, int] = (40, 30)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, (number % 256, 50, 90)).save(buffer, form)
    return buffer.getvalue()


def write_samples(path: Path, samples: Sequence[Mapping[str, object]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with webdataset.TarWriter(str(path)) as writer:
        for sample in samples:
            writer.write(dict(sample))


def write_members(path: Path, *members: tuple[str, bytes], link: tuple[str, str] | None = None) -> None:
    """A tar of these files, after a symbolic link."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        if link is not None:
            info = tarfile.TarInfo(link[0])
            info.type, info.linkname = tarfile.SYMTYPE, link[1]
            tar.addfile(info)
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


def pages_of(tmp_path: Path, *, pages_at_once: int = 1000, **settings: object) -> tuple[RawPages, dict[str, Page]]:
    found = read_raw(tmp_path / "raw", pages_at_once=pages_at_once, **settings)
    return found, found.pages


SAMPLES = [
    {"__key__": f"{n:04d}", "png": picture(n), "txt": f"text {n}", "json": {"caption": f"c{n}", "width": 40}}
    for n in range(7)
]


def test_samples_become_pages_with_image_text_and_metadata(tmp_path: Path) -> None:
    write_samples(tmp_path / "raw/a/00000.tar", SAMPLES)
    report, pages = pages_of(tmp_path)
    assert not report.refused
    assert list(pages) == [f"a/00000@{n:04d}" for n in range(7)]
    page = pages["a/00000@0003"]
    assert page.images == (picture(3),)
    assert page.segments == (ImageSegment(index=0), TextSegment(text="text 3"))
    assert page.meta == {"caption": "c3", "width": 40, "source": "a/00000.tar", "sample": "0003"}


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "tar.gz": gzip.compress,
    "tgz": gzip.compress,
    "tar": gzip.compress,  # whatever the name says
    "tar.bz2": bz2.compress,
    "tar.xz": lzma.compress,
    "tar.zst": lambda data: bytes(pyarrow.compress(data, codec="zstd", asbytes=True)),
}


@pytest.mark.parametrize("suffix", PACKERS)
def test_compressed_tars_give_the_same_pages(tmp_path: Path, suffix: str) -> None:
    write_samples(tmp_path / "plain.tar", SAMPLES)
    (tmp_path / "raw").mkdir()
    (tmp_path / f"raw/x.{suffix}").write_bytes(PACKERS[suffix]((tmp_path / "plain.tar").read_bytes()))
    report, pages = pages_of(tmp_path, pages_at_once=3)
    assert not report.refused
    assert [text_of(page) for page in pages.values()] == [f"text {n}" for n in range(7)]
    assert [page.images for page in pages.values()] == [(picture(n),) for n in range(7)]


def test_any_number_of_pages_per_shard_gives_the_same_pages(tmp_path: Path) -> None:
    """Whatever page of a shard begins with is found by the marks: between samples that repeat, and a damaged end."""
    samples = [sample | {"__key__": f"{n // 2 if n in (8, 9) else n:04d}"} for n, sample in enumerate(SAMPLES * 3)]
    samples.insert(4, {"__key__": "link", "txt": "x"})
    write_samples(tmp_path / "raw/a.tar", samples)
    path = tmp_path / "raw/a.tar"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 1024 * 1024 - 11_000])
    expected: list[tuple[str, str]] = []
    for count in (100, 1, 2, 3, 5, 7):
        report, pages = pages_of(tmp_path, pages_at_once=count)
        found = [(page.key, text_of(page)) for page in pages.values()]
        expected = expected or found
        assert found == expected
        assert len(report.refused) == 2


def test_samples_before_damage_come_in_and_the_rest_is_named(tmp_path: Path) -> None:
    write_samples(tmp_path / "whole.tar", SAMPLES)
    data = (tmp_path / "whole.tar").read_bytes()
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw/cut.tar").write_bytes(data[: 5 * 4 * 512 + 100])  # in the picture of the fifth or so
    (tmp_path / "raw/packed.tar.gz").write_bytes(gzip.compress(data, mtime=0)[:-300])
    (tmp_path / "raw/joined.tar").write_bytes(data + data)
    (tmp_path / "raw/none.tar").write_bytes(b"no tar at all" * 99)
    (tmp_path / "raw/short.tar").write_bytes(b"")
    report, pages = pages_of(tmp_path)
    by_file = {path: reason for path, _page, reason in report.refused}
    assert {"cut.tar", "packed.tar.gz", "joined.tar", "none.tar", "short.tar"} == by_file.keys()
    assert len(report.refused) == 5
    assert "joined by `cat`" in by_file["joined.tar"]
    assert by_file["short.tar"] == "not a tar: it has 0 bytes"
    assert "no tar header at byte 0" in by_file["none.tar"]
    assert "damaged" in by_file["cut.tar"] and "damaged" in by_file["packed.tar.gz"]
    keys = [key.partition("@")[0] for key in pages]
    assert keys.count("joined") == 7 and 0 < keys.count("cut") < 7 and 0 < keys.count("packed") < 7


def test_a_tar_without_an_end_does_not_give_its_last_sample(tmp_path: Path) -> None:
    """What is cut between the text and the image of a sample would be a text alone."""
    members = [("a.json", b'{"text": "one"}'), ("a.png", picture(1)), ("b.json", b'{"text": "two"}')]
    write_members(tmp_path / "raw/x.tar", *members)
    path = tmp_path / "raw/x.tar"
    path.write_bytes(path.read_bytes()[: 512 * 6])
    report, pages = pages_of(tmp_path)
    assert list(pages) == ["x@a"]
    ((_file, number, reason),) = report.refused
    assert number == 2 and "no end-of-archive block at byte 3072" in reason


def test_repeated_keys_and_halves_that_are_apart(tmp_path: Path) -> None:
    write_members(
        tmp_path / "raw/x.tar",
        *(("images/p.png", picture(1)), ("a.png", picture(2)), ("a.txt", b"first")),
        *(("b.png", picture(3)), ("b.txt", b"b"), ("a.png", picture(4)), ("a.txt", b"second")),
        *(("texts/p.txt", b"text of p"), ("c.png", picture(5)), ("c.txt", b"c"), ("é.png", picture(6))),
        *(("é.txt", b"e"), ("e 1.png", picture(7)), ("e 1.txt", b"f"), ("g/h.png", picture(8)), ("g/h.txt", b"h")),
    )
    write_members(tmp_path / "raw/y.tar", ("a.png", picture(9)), ("a.txt", b"of another tar"))
    report, pages = pages_of(tmp_path)
    assert {key: text_of(page) for key, page in pages.items()} == {
        "x@a": "first",
        "x@b": "b",
        "x@c": "c",
        sample_key("x", "é"): "e",
        sample_key("x", "e 1"): "f",
        "x@g@h": "h",
        "y@a": "of another tar",
    }
    assert [(page, reason[:60]) for _file, page, reason in report.refused] == [
        (1, "sample 'images/p': its image and its text are apart, and wou"),
        (4, "sample 'a': its key appears before in the tar; give each sam"),
        (5, "sample 'texts/p': its image and its text are apart, and woul"),
    ]


def test_files_that_are_in_no_sample_are_counted(tmp_path: Path) -> None:
    """Counted over all pages of the tar; one that could be the half of a sample costs that sample."""
    samples = [(f"{n}.{end}", data) for n in range(5) for end, data in (("png", picture(n)), ("txt", b"t"))]
    others = [("README", b"r"), (".x.png", picture(9)), *samples[:6], ("._2.png", b"junk"), ("texts/p.txt", b"of p")]
    write_members(tmp_path / "raw/x.tar", *others, *samples[6:], ("images/p", picture(8)))
    report, pages = pages_of(tmp_path)
    assert sorted(pages) == [f"x@{n}" for n in range(5)]
    assert [(number, reason[:66]) for _file, number, reason in report.refused] == [
        (4, "sample 'texts/p': a file elsewhere in the tar, without a suffix or")
    ]
    (line,) = [line for line in report.readings.lines() if "in no sample" in line]
    assert line == (
        "files of tars that are in no sample, passed over: 2 whose name begins with a dot (._2.png, say), 2 without a "
        "suffix (README, say)"
    )


def test_keys_are_unique_and_fit(tmp_path: Path) -> None:
    keys = ["n" * 90 + "1", "n" * 90 + "2", "a/0001", "a@0001", "a_0001", "__x"]
    keys += ["/etc/x", "../../x", "a/../x", "x\ny"]  # no path that a tar may be unpacked to
    samples = [{"__key__": key, "txt": key, "png": picture(1)} for key in keys]
    write_samples(tmp_path / f"raw/{'f' * 60}/{'t' * 60}.tar", samples)
    found, pages = pages_of(tmp_path)
    assert list(found.texts.values()) == keys
    for key in pages:
        validate_key(key)


def test_links_large_parts_and_foreign_formats(tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    with tarfile.open(tmp_path / "raw/x.tar", "w") as tar:
        for name, data in (
            ("a.txt", b"a"),
            ("b.jp2", picture(1, "JPEG2000")),
            ("b.txt", b"jp2"),
            ("c.txt", b"c" * 3000),
        ):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            if name == "a.txt":
                link = tarfile.TarInfo("a.png")
                link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
                tar.addfile(link)
            tar.addfile(info, io.BytesIO(data))
        for name, data in (("c.png", picture(2)), ("d.jxl", b"\xff\x0a" + b"x" * 99), ("d.txt", b"d")):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
        for name, data in (
            ("e.avif", picture(3, "AVIF")),
            ("e.txt", b"avif"),
            ("f.JFIF", picture(4, "JPEG")),
            ("f.txt", b"f"),
        ):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    report, pages = pages_of(tmp_path, max_file_bytes=2500)
    assert {key: text_of(page) for key, page in pages.items()} == {"x@b": "jp2", "x@e": "avif", "x@f": "f"}
    found = [reason for _file, _page, reason in report.refused]
    assert "symbolic link to '/etc/passwd'" in found[0]
    assert found[1] == "sample 'c': its part 'txt' has 3,000 bytes, above the limit of 2,500 (--max-file-bytes)"
    assert found[2].startswith("sample 'd': ")
    assert len(found) == 3


def test_a_bomb_is_refused(tmp_path: Path) -> None:
    """40 MB of zeros in a member, in 40 kB."""
    tar = (
        make_header("a.png", len(picture(1))) + picture(1).ljust(512, b"\0") + make_header("a.txt", 1) + b"x".ljust(512)
    )
    tar += make_header("b.bin", 40_000_000) + bytes(40_000_256)
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw/x.tar.gz").write_bytes(gzip.compress(tar + bytes(10240), mtime=0))
    report, _pages = pages_of(tmp_path, max_file_bytes=5_000_000)
    assert "far more than it should hold" in report.refused[0][2]


def test_dotted_keys_by_option(tmp_path: Path) -> None:
    members = [(f"page.v{n}.{end}", data) for n in range(2) for end, data in (("png", picture(n)), ("txt", b"%d" % n))]
    write_members(tmp_path / "raw/x.tar", *members)
    report, pages = pages_of(tmp_path)
    assert not pages and len(report.refused) == 1
    _report, pages = pages_of(tmp_path, key_rule="dotted")
    assert {page.meta["sample"]: text_of(page) for page in pages.values()} == {"page.v0": "0", "page.v1": "1"}


def test_img2dataset_layout(tmp_path: Path) -> None:
    """As its documentation has it: jpg, txt, json in 00000.tar; 00000.parquet and 00000_stats.json next to it."""
    rows = [
        {
            "caption": f"caption {n}",
            "key": f"{n:09d}",
            "status": "success",
            "url": f"https://e.org/{n}.jpg",
            "width": 40,
        }
        for n in range(3)
    ]
    write_samples(
        tmp_path / "raw/00000.tar",
        [{"__key__": r["key"], "jpg": picture(n, "JPEG"), "txt": r["caption"], "json": r} for n, r in enumerate(rows)],
    )
    (tmp_path / "raw/00000.parquet").write_bytes(b"PAR1")
    (tmp_path / "raw/00000_stats.json").write_text('{"count": 3}')
    report, pages = pages_of(tmp_path)
    assert len(pages) == 3 and not report.refused
    assert report.listing.ignored == {"next to tars or folders, with what is in them": 2}
    page = pages["00000@000000001"]
    assert text_of(page) == "caption 1" and page.images == (picture(1, "JPEG"),)
    assert page.meta["status"] == "success" and page.meta["url"] == "https://e.org/1.jpg"


def test_what_index_writes_next_to_a_tar_is_no_format_that_is_not_read(tmp_path: Path) -> None:
    """The advice was to write the samples of `x.meta.npz` as tars."""
    write_samples(tmp_path / "raw/x.tar", [{"__key__": "a", "jpg": picture(0, "JPEG"), "txt": "one"}])
    index_folder(tmp_path / "raw", workers=1)
    for name in ("y.meta.npz", "y.tar.idx"):  # of no tar
        (tmp_path / "raw" / name).write_bytes(b"of somebody")
    report, pages = pages_of(tmp_path)
    assert [*pages] == ["x@a"] and report.listing.outputs == ("index",)
    assert report.listing.ignored == {"next to tars or folders, with what is in them": 2, ".npz": 1, ".idx": 1}


def test_img2dataset_layout_of_files(tmp_path: Path) -> None:
    """Its table says again what the folder holds: each row of it was quarantined."""
    (tmp_path / "raw/00000").mkdir(parents=True)
    (tmp_path / "raw/00000/000000000.jpg").write_bytes(picture(0, "JPEG"))
    (tmp_path / "raw/00000/000000000.txt").write_text("caption 0")
    for name in (
        "00000.parquet",
        "00001.parquet",
        "00001_stats.json",
    ):  # without a folder, the samples are in the table
        (tmp_path / "raw" / name).write_bytes(b"PAR1")
    (tmp_path / "raw/00000_stats.json").write_text('{"count": 1}')
    report, pages = pages_of(tmp_path)
    assert report.listing.ignored == {"next to tars or folders, with what is in them": 2, ".json": 1}
    assert [*pages] == ["00000/000000000"] and [file for file, *_ in report.refused] == ["00001.parquet"]


def test_a_table_next_to_the_folder_of_its_images_is_read_whatever_is_counted_there(tmp_path: Path) -> None:
    """img2dataset numbers its folders; `train_stats.json` may be anybody's."""
    (tmp_path / "raw/train").mkdir(parents=True)
    (tmp_path / "raw/train/a.png").write_bytes(picture(0))
    pq.write_table(pyarrow.table({"image": ["train/a.png"], "text": ["a text"]}), tmp_path / "raw/train.parquet")
    (tmp_path / "raw/train_stats.json").write_text('{"mean": 0.5}')
    report, pages = pages_of(tmp_path)
    assert report.listing.ignored == {".json": 1} and not report.refused
    assert [text_of(page) for page in pages.values()] == ["a text"]


def test_a_packed_copy_next_to_its_tar_is_named_and_energon_is_passed_over(tmp_path: Path) -> None:
    write_samples(tmp_path / "raw/a.tar", SAMPLES[:2])
    (tmp_path / "raw/a.tar.gz").write_bytes(gzip.compress((tmp_path / "raw/a.tar").read_bytes()))
    (tmp_path / "raw/.nv-meta").mkdir()
    (tmp_path / "raw/.nv-meta/dataset.yaml").write_text("x: 1")
    (tmp_path / "raw/a.tar.idx").write_bytes(b"")
    report, pages = pages_of(tmp_path)
    assert len(pages) == 2
    assert report.refused == [
        ("a.tar.gz", 0, "is next to a.tar, of which it seems to be a copy; remove one, or give it another name")
    ]


def test_rows_in_json_and_numbered_images(tmp_path: Path) -> None:
    turns = [{"role": "user", "content": "<image> <image> which?"}, {"role": "assistant", "content": "both"}]
    write_samples(
        tmp_path / "raw/x.tar",
        [
            {"__key__": "chat", "0.png": picture(1), "1.png": picture(2), "json": {"messages": turns}},
            {"__key__": "caption", "jpg": picture(3, "JPEG"), "json": {"caption": "a cat"}},
            {"__key__": "lost", "json": {"text": "see it", "image": "elsewhere.png"}},
        ],
    )
    report, pages = pages_of(tmp_path)
    assert pages["x@chat"].images == (picture(1), picture(2))
    assert text_of(pages["x@caption"]) == "a cat"
    assert len(pages) == 2 and "elsewhere.png" in report.refused[0][2]


def make(tmp_path: Path, **options: object) -> MakeShardsReport:
    chosen = MakeShardsOptions.of({"pages_per_shard": 4, **options})
    return make_shards(tmp_path / "raw", tmp_path / "out", options=chosen)


def test_make_shards_continues_and_makes_again_what_changed(tmp_path: Path) -> None:
    write_samples(tmp_path / "raw/a.tar", SAMPLES)
    write_samples(tmp_path / "raw/b.tar", SAMPLES)
    report = make(tmp_path, workers=2)
    assert (report.files, report.pages, report.num_quarantined) == ({"tar": 2}, {"tar": 14}, 0)
    assert make(tmp_path).pages_made == 0
    write_samples(tmp_path / "raw/a.tar", [*SAMPLES[:6], SAMPLES[6] | {"txt": "TEXT 6"}])
    report = make(tmp_path, workers=1)
    shards = Shards.open(tmp_path / "out")
    texts = {page.key: text_of(page) for page in map(shards.read_page, range(len(shards)))}
    assert texts == {f"{tar}@{n:04d}": f"text {n}" for tar in "ab" for n in range(7)} | {"a@0006": "TEXT 6"}
    assert report.pages_made == 4
    with pytest.raises(ConfigError, match="make-shards wrote this folder: its tars are shards already"):
        make_shards(tmp_path / "out", tmp_path / "again")


APART = (
    "they would not be trained on together; write tars in which the image and the text of a sample are neighbours, or "
    "make shards of each by itself where they are of other samples"
)


def test_images_and_texts_in_tars_of_their_own(tmp_path: Path) -> None:
    """As `tar cf images.tar images` and `tar cf texts.tar texts` write them: every text would be trained on alone."""
    raw = tmp_path / "raw"
    write_members(raw / "images.tar", *((f"images/p{number:03d}.png", picture(number)) for number in range(300)))
    for first in (0, 100, 200):
        texts = ((f"texts/p{number:03d}.txt", b"A text.") for number in range(first, first + 100))
        write_members(raw / f"texts-{first}.tar", *texts)
    write_members(raw / "other/notes.tar", ("n1.txt", b"A note."), ("n2.txt", b"Another."))
    write_members(raw / "pages.tar", ("p001.png", picture(1)), ("p001.txt", b"A page."))
    report = make(tmp_path)
    assert {(entry.file, entry.reason) for entry in report.quarantined} == {
        ("images.tar", f"this tar has images alone, and texts-0.tar texts of the same names: {APART}"),
        ("texts-0.tar", f"this tar has texts alone, and images.tar images of the same names: {APART}"),
        ("texts-100.tar", f"this tar has texts alone, and images.tar images of the same names: {APART}"),
        ("texts-200.tar", f"this tar has texts alone, and images.tar images of the same names: {APART}"),
    }
    shards = Shards.open(tmp_path / "out")
    assert sorted(map(shards.key, range(len(shards)))) == ["other/notes@n1", "other/notes@n2", "pages@p001"]
    (raw / "images.tar").unlink()  # texts of their own
    report = make(tmp_path, retry_quarantined=True)
    assert (report.quarantined, report.pages, report.without_image) == ((), {"tar": 303}, 302)


def test_a_random_tar_never_ends_the_job(tmp_path: Path) -> None:
    write_samples(tmp_path / "whole.tar", SAMPLES)
    data = (tmp_path / "whole.tar").read_bytes()
    chosen = random.Random(5)
    (tmp_path / "raw").mkdir()
    for number in range(40):
        bad = bytearray(data)
        for _ in range(3):
            bad[chosen.randrange(len(bad))] = chosen.randrange(256)
        path = tmp_path / f"raw/{number}.tar{'.gz' * (number % 2)}"
        path.write_bytes(bytes(bad) if number % 2 == 0 else gzip.compress(bytes(bad))[: -number * 3])
    report, pages = pages_of(tmp_path)
    assert report.refused and len(pages) > 100
    assert json.dumps(report.refused).find("by a fault of wdstream") < 0
