"""Folders of tars of anyone: what is bad is named all at once, or left out and listed; nothing is lost silently."""

import gzip
import io
import json
import os
import re
import shutil
import subprocess
import tarfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import webdataset
from PIL import Image

from tests.helpers.fake_shards import fake_image, measure, pages
from tests.helpers.paths import DATA
from tests.helpers.raw_pages import read_raw
from wdstream.errors import RowError, ShardError, ShardIndexError
from wdstream.pixels.header import image_size
from wdstream.report.console import PrintableConsole
from wdstream.shards.by_row.checked import CheckedColumn
from wdstream.shards.column_files import entry_of
from wdstream.shards.describe import TarRules
from wdstream.shards.reader import Shards
from wdstream.shards.tar_folder import TarFolder
from wdstream.text.row_forms import DEFAULT_RULES, rules_with_map

CASES = DATA / "cases" / "tars"
IMAGE = fake_image(4, 3)
SKIP = TarRules(skip_bad=True)


def write_tar(path: Path, members: list[tuple[str, bytes]]) -> None:
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


def case(name: str, tmp_path: Path) -> Path:
    return Path(shutil.copytree(CASES / name, tmp_path / name))


def left_out(folder: Path) -> list[Mapping[str, object]]:
    return [json.loads(line) for line in (folder / "index" / "left_out.jsonl").read_text().splitlines()]


def test_bad_names_are_all_named_at_once_and_with_skip_bad_left_out(tmp_path: Path) -> None:
    good = [("good.jpg", IMAGE), ("good.txt", b"fine")]
    write_tar(tmp_path / "a.tar", [*good, ("../up.txt", b"t"), ("two.txt", b"t"), ("two.TXT", b"u")])
    write_tar(tmp_path / "b.tar", [("b.txt", b"b"), ("c.txt", b"c"), ("b.txt", b"b"), ("v.1.txt", b"v")])
    (tmp_path / "c.tar").write_bytes(b"no tar at all" * 100)
    for name in ("d.tar", "e.tar"):
        write_tar(tmp_path / name, [("twin.txt", b"t")])
    with pytest.raises(ShardError) as refused:
        TarFolder(tmp_path, measure).index()
    message = str(refused.value)
    assert "3 of 5 tars cannot be indexed" in message
    assert "the key 'twin' is in d.tar and in e.tar" in message
    for part in ("'../up': the key", "'two': it has two members 'txt'", "'b': the key appears again", "'v': the name"):
        assert part in message
    assert "c.tar: no tar header at byte 0" in message
    assert message.endswith("with --skip-bad")

    report = TarFolder(tmp_path, measure, SKIP).index()
    shards = Shards.open(tmp_path)
    assert [shards.key(row) for row in range(len(shards))] == ["good", "b", "c", "twin"]
    assert [(line["shard"], line["key"]) for line in left_out(tmp_path)] == [
        ("c.tar", None),
        ("a.tar", "../up"),
        ("a.tar", "two"),
        ("b.tar", "b"),
        ("b.tar", "v"),
        ("e.tar", "twin"),
    ]
    assert [name for name, _ in report.skipped] == ["c.tar"]
    assert "no tar header at byte 0" in report.skipped[0][1]


def test_what_is_called_a_tar_and_is_no_file_is_refused_or_left_out(tmp_path: Path) -> None:
    write_tar(tmp_path / "a.tar", [("a.png", fake_image(4, 5)), ("a.txt", b"a")])
    (tmp_path / "link.tar").symlink_to(tmp_path / "gone")
    (tmp_path / "round.tar").symlink_to("round.tar")
    (tmp_path / "folder.tar").mkdir()  # what somebody unpacked there
    (tmp_path / "good.tar").symlink_to("b")
    write_tar(tmp_path / "b", [("b.png", fake_image(4, 5)), ("b.txt", b"b")])
    os.mkfifo(tmp_path / "pipe.tar")
    expected = {
        "link.tar": f"{tmp_path}/link.tar is a link to nothing that can be read",
        "pipe.tar": f"{tmp_path}/pipe.tar is a pipe, a socket or a device, not a file",
        "round.tar": f"{tmp_path}/round.tar is a link to nothing that can be read",
    }
    with pytest.raises(ShardError, match=r"3 of 5 tars cannot be indexed") as caught:
        TarFolder(tmp_path, measure).index()
    assert all(reason in str(caught.value) for reason in expected.values())
    report = TarFolder(tmp_path, measure, TarRules(skip_bad=True)).index()
    assert report.catalog.num_samples == 2
    assert {**dict(report.skipped), "folder.tar": ""} == {**expected, "folder.tar": ""}


def test_a_line_end_in_a_key_makes_no_line_of_its_own(tmp_path: Path) -> None:
    write_tar(tmp_path / "s.tar", [("good.txt", b"t"), ("../up\nleft out of s: good.txt", b"t")])
    printed = io.StringIO()
    TarFolder(tmp_path, measure, SKIP).index().print(PrintableConsole(file=printed, width=300))
    [line] = [line for line in printed.getvalue().splitlines() if line.startswith("left out of")]
    assert line.startswith("left out of s.tar: ../up⏎left out of s: good: the key ")


def test_of_many_troubles_fifty_are_named_and_all_counted(tmp_path: Path) -> None:
    write_tar(tmp_path / "s.tar", [(f"../{number:03d}.txt", b"t") for number in range(80)])
    with pytest.raises(ShardError, match=r"80 of 80 samples have bad names") as refused:
        TarFolder(tmp_path, measure).index()
    assert len(str(refused.value).splitlines()) == 53
    assert "more" in str(refused.value)


def test_keys_of_two_tars_are_refused_kept_once_or_prefixed(tmp_path: Path) -> None:
    folder = case("dup_across", tmp_path)
    with pytest.raises(ShardError, match=r"1 keys are not unique[^:]*:\n  the key 'a' is in s-000000\.tar and in s-"):
        TarFolder(folder, image_size).index()
    with pytest.raises(ShardError, match="--prefix-keys"):
        TarFolder(folder, image_size).index()
    report = TarFolder(folder, image_size, SKIP).index()
    assert report.catalog.num_samples == 1
    assert left_out(folder) == [
        {"shard": "s-000001.tar", "key": "a", "reason": "the key 'a' is in s-000000.tar and in s-000001.tar"}
    ]
    TarFolder(folder, image_size, TarRules(prefix_keys=True)).index()
    shards = Shards.open(folder)
    assert [shards.key(row) for row in range(2)] == ["s-000000.tar/a", "s-000001.tar/a"]
    assert [shards.read_page(row).key for row in range(2)] == ["s-000000.tar/a", "s-000001.tar/a"]
    assert shards.find("s-000001.tar/a") == 1
    assert not (folder / "index" / "left_out.jsonl").exists()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # webdataset leaves the tar open
def test_dotted_keys_are_refused_and_read_where_that_is_asked_for(tmp_path: Path) -> None:
    folder = case("dotted", tmp_path)
    with pytest.raises(ShardError, match=r"'doc\.v2\.jpg' has a dot in its key.*--key dotted"):
        TarFolder(folder, image_size).index()
    TarFolder(folder, image_size, TarRules(keys="dotted")).index()
    shards = Shards.open(folder)
    page = shards.read_page(0)
    assert (len(shards), shards.key(0), page.key, len(page.images)) == (1, "doc.v2", "doc.v2", 1)
    (sample,) = webdataset.WebDataset(str(folder / "s-000000.tar"), shardshuffle=False)
    assert sorted(name for name in sample if not name.startswith("__")) == ["v2.jpg", "v2.txt"]


def test_dotted_keys_that_webdataset_takes_for_one_sample(tmp_path: Path) -> None:
    members = [(f"doc.v{n}.{suffix}", data) for n in (1, 2) for suffix, data in (("jpg", IMAGE), ("txt", b"%d" % n))]
    write_tar(tmp_path / "s.tar", members)
    TarFolder(tmp_path, measure, TarRules(keys="dotted", prefix_keys=True)).index()
    shards = Shards.open(tmp_path)
    assert [shards.read(row)[1]["txt"] for row in range(2)] == [b"1", b"2"]
    assert [shards.key(row) for row in range(2)] == ["s.tar/doc.v1", "s.tar/doc.v2"]


@pytest.mark.parametrize("first", ["jpg", "txt"])
def test_images_and_texts_that_are_apart_in_a_tar(tmp_path: Path, first: str) -> None:
    parts = {"jpg": IMAGE, "txt": b"text"}
    second = "txt" if first == "jpg" else "jpg"
    write_tar(tmp_path / "s.tar", [(f"{key}.{name}", parts[name]) for name in (first, second) for key in "abc"])
    with pytest.raises(ShardError, match=r"6 of 6 samples have bad names.*\n.*'a': its image and its text are apart"):
        TarFolder(tmp_path, measure).index()
    with pytest.raises(ShardIndexError, match="no sample of these tars can be used"):
        TarFolder(tmp_path, measure, SKIP).index()


@pytest.mark.parametrize("first", ["images/a", "texts/a.txt"])
def test_an_image_without_a_suffix_in_another_folder(tmp_path: Path, first: str) -> None:
    members = [("images/a", IMAGE), ("texts/a.txt", b"text"), ("b.jpg", IMAGE), ("b.txt", b"b")]
    write_tar(tmp_path / "s.tar", members if first == "images/a" else [members[1], *members[2:], members[0]])
    with pytest.raises(
        ShardError, match="'texts/a': the file 'images/a', without a suffix or hidden, could be its image"
    ):
        TarFolder(tmp_path, measure).index()
    report = TarFolder(tmp_path, measure, SKIP).index()
    assert ([failure.key for _, failure in report.failures], report.catalog.num_samples) == (
        ["texts/a", "images/a"],
        1,
    )


@pytest.mark.parametrize("name", ["images/0001", ".a.jpg", "x/._a.png"])
@pytest.mark.parametrize("is_first", [True, False])
def test_an_image_in_no_sample_could_be_that_of_a_text(tmp_path: Path, name: str, is_first: bool) -> None:
    """By its bytes, or by a name that begins with a dot."""
    buffer = io.BytesIO()
    Image.new("L", (9, 8)).save(buffer, "PNG")
    stray = (name, buffer.getvalue() if "0001" in name else b"junk")
    sample = [("a.txt", b"text"), ("b.png", buffer.getvalue()), ("b.txt", b"b")]
    write_tar(tmp_path / "s.tar", [stray, *sample] if is_first else [*sample, stray])
    with pytest.raises(ShardError, match=re.escape(f"'a': the file {name!r}, without a suffix or hidden, could be")):
        TarFolder(tmp_path, image_size).index()
    assert TarFolder(tmp_path, image_size, SKIP).index().catalog.num_samples == 1
    refused = read_raw(tmp_path).refused
    assert [reason[:75] for file, _page, reason in refused if file == "s.tar"] == [
        "sample 'a': a file elsewhere in the tar, without a suffix or hidden, could b"[:75]
    ]


def test_what_macos_knows_of_an_image_is_no_half_of_a_sample(tmp_path: Path) -> None:
    """Images alone, of a chat whose texts are elsewhere, or to be read by OCR; and texts alone."""
    members = [("a.jpg", IMAGE), ("b.txt", b"b"), ("b.jpg", IMAGE), ("c.txt", b"c")]
    apple = b"\x00\x05\x16\x07\x00\x02\x00\x00Mac OS X        " + bytes(99)
    write_tar(tmp_path / "s.tar", [each for name, data in members for each in ((f"._{name}", apple), (name, data))])
    assert TarFolder(tmp_path, measure).index().catalog.num_samples == 3
    assert "could be its image" not in str(read_raw(tmp_path).refused)


@pytest.mark.parametrize(
    "text", [b"MIT License\n\nCopyright (c) " + b"x" * 80, b"MIT", "Лицензия на эти данные, вся".encode() * 9]
)
def test_a_license_is_no_image_of_a_text_of_its_name(tmp_path: Path, text: bytes) -> None:
    write_tar(tmp_path / "s.tar", [("LICENSE", text), ("a.txt", b"a"), ("license.txt", b"l")])
    report = TarFolder(tmp_path, measure).index()
    assert report.catalog.num_samples == 2
    assert [failure.reason for _, failure in report.failures] == [
        "files that are in no sample, passed over: 1 without a suffix (LICENSE, say)"
    ]


@pytest.mark.parametrize(
    "data",
    [b"", b"images/license.png", b"\x00\x01" * 50, b"iVBORw0KGgoAAAANSUhEUgAAAAoAAAAKCAIAAAACUFjqAAAAEklEQVR4" * 2],
)
def test_what_could_be_an_image_is_not_a_license(tmp_path: Path, data: bytes) -> None:
    write_tar(tmp_path / "s.tar", [("LICENSE", data), ("a.txt", b"a"), ("license.txt", b"l")])
    with pytest.raises(
        ShardError, match="'license': the file 'LICENSE', without a suffix or hidden, could be its image"
    ):
        TarFolder(tmp_path, measure).index()


def test_files_that_are_in_no_sample_are_listed(tmp_path: Path) -> None:
    write_tar(tmp_path / "s.tar", [("a.jpg", IMAGE), ("a.txt", b"a"), ("._a.jpg", b"x"), (".b.jpg", IMAGE), ("N", b"")])
    report = TarFolder(tmp_path, measure).index()
    assert [(shard, failure.key, failure.reason) for shard, failure in report.failures] == [
        (
            "s.tar",
            "._a.jpg",
            "files that are in no sample, passed over: 2 whose name begins with a dot (._a.jpg, say), 1 without a "
            "suffix (N, say)",
        )
    ]


@pytest.mark.parametrize("names", [("a.tar", "b.tar"), ("b.tar", "a.tar")])
def test_images_and_texts_in_tars_of_their_own(tmp_path: Path, names: tuple[str, str]) -> None:
    write_tar(tmp_path / names[0], [(f"{key}.jpg", IMAGE) for key in "xyz"])
    write_tar(tmp_path / names[1], [(f"{key}.txt", b"text") for key in "xyz"])
    for rules in (TarRules(), TarRules(prefix_keys=True)):
        with pytest.raises(ShardError, match="the image and the text of one sample, which are apart"):
            TarFolder(tmp_path, measure, rules).index()
    with pytest.raises(ShardIndexError, match="no sample of these tars can be used"):
        TarFolder(tmp_path, measure, SKIP).index()


def test_images_and_texts_in_tars_and_folders_of_their_own(tmp_path: Path) -> None:
    """As `tar cf images.tar images` and `tar cf texts.tar texts` write them: no two keys are equal."""
    write_tar(tmp_path / "images.tar", [(f"images/{key}.jpg", IMAGE) for key in "xy"])
    write_tar(tmp_path / "texts.tar", [(f"texts/{key}.json", b'{"text": "t"}') for key in "xyz"])
    with pytest.raises(ShardError) as refused:
        TarFolder(tmp_path, measure).index()
    assert str(refused.value).split("\n")[:2] == [
        f"{tmp_path}: 4 keys are of images and of texts in tars of their own:",
        "  'texts/x' of texts.tar and 'images/x' of images.tar are the image and the text of one sample, apart",
    ]
    report = TarFolder(tmp_path, measure, SKIP).index()
    assert (report.catalog.num_samples, report.catalog.num_images) == (1, 0)  # texts/z
    assert [(shard, failure.key) for shard, failure in report.failures] == [
        ("images.tar", "images/x"),
        ("images.tar", "images/y"),
        ("texts.tar", "texts/x"),
        ("texts.tar", "texts/y"),
    ]


def test_texts_next_to_whole_samples_of_such_keys_are_texts(tmp_path: Path) -> None:
    write_tar(tmp_path / "pages.tar", [("images/x.jpg", IMAGE), ("images/x.txt", b"t"), ("images/y.jpg", IMAGE)])
    write_tar(tmp_path / "texts.tar", [("texts/x.txt", b"t"), ("texts/y.txt", b"t")])
    assert TarFolder(tmp_path, measure).index().catalog.num_samples == 4


def test_images_without_text_are_no_index(tmp_path: Path) -> None:
    write_tar(tmp_path / "s.tar", [("a.jpg", IMAGE), ("b.jpg", IMAGE)])
    with pytest.raises(ShardIndexError, match="none of its 2 samples has text, so there is nothing to train on"):
        TarFolder(tmp_path, measure).index()
    assert not (tmp_path / "index").exists()


def test_compressed_tars_are_named(tmp_path: Path) -> None:
    with pytest.raises(ShardIndexError, match=r"s-000000\.tar\.gz: compressed: repack it with `wdstream make-shards /"):
        TarFolder(case("gz", tmp_path), image_size).index()
    with pytest.raises(ShardError, match=r"s-000000\.tar: compressed with gzip: repack it with `wdstream"):
        TarFolder(case("gz_named_tar", tmp_path), image_size).index()


def test_what_is_not_read_is_named_next_to_good_tars(tmp_path: Path) -> None:
    for name in ("good.tar", "LOUD.TAR", "sub/deeper/x.tar", "sub/deeper/y.tar.zst"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        write_tar(tmp_path / name, [("a.txt", b"text")])
    for name in ("x.tar.gz", "x.tgz", "x.tar.zst", "x.tar.bz2"):
        (tmp_path / name).write_bytes(gzip.compress(b""))
    report = TarFolder(tmp_path, measure).index()
    assert report.catalog.num_samples == 1
    assert [name for name, _ in report.skipped] == [
        "LOUD.TAR",
        "sub/deeper/",
        "x.tar.bz2",
        "x.tar.gz",
        "x.tar.zst",
        "x.tgz",
    ]
    assert dict(report.skipped)["sub/deeper/"].startswith("2 tars in a folder below are not read: index ")


def test_tars_joined_by_cat_are_refused(tmp_path: Path) -> None:
    """Readers of tars stop at the end of the first archive: the second would be lost without a word."""
    write_tar(tmp_path / "one", [("a.txt", b"a")])
    write_tar(tmp_path / "two", [("b.txt", b"b")])
    (tmp_path / "s.tar").write_bytes((tmp_path / "one").read_bytes() + (tmp_path / "two").read_bytes())
    with pytest.raises(ShardError, match=r"s\.tar: there is more after the end of the archive"):
        TarFolder(tmp_path, measure).index()


def test_a_damaged_copy_of_the_map_is_made_again_from_the_index(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "s.tar", "w") as tar:
        for name, data in {"a.jpg": IMAGE, "a.note": b"text"}.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    rules = TarRules(rows=rules_with_map(DEFAULT_RULES, "text=note"))
    TarFolder(tmp_path, measure, rules).index()
    copy = tmp_path / "index" / "map.txt"
    copy.write_text("text=json:other\n", encoding="utf-8")
    assert TarFolder(tmp_path, measure).index().catalog.field_map == "text=note"
    assert copy.read_bytes() == b"text=note\n"


def test_a_link_without_a_suffix_next_to_a_text(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "s.tar", "w") as tar:
        link = tarfile.TarInfo("a")
        link.type, link.linkname = tarfile.SYMTYPE, "b.jpg"
        tar.addfile(link)
        for name in ("a.txt", "c.txt"):
            text = tarfile.TarInfo(name)
            text.size = 1
            tar.addfile(text, io.BytesIO(b"t"))
    ((_, failure),) = TarFolder(tmp_path, measure, SKIP).index().failures
    assert failure.key == "a"
    assert failure.reason.startswith("the file 'a' next to it, without a suffix, could be its image or its text")


@pytest.mark.parametrize("name", ["hardlink", "symlink"])
def test_a_sample_with_a_link_is_left_out(name: str, tmp_path: Path) -> None:
    folder = case(name, tmp_path)
    report = TarFolder(folder, image_size).index()
    shards = Shards.open(folder)
    assert [shards.key(row) for row in range(len(shards))] == ["a"]
    ((shard, failure),) = report.failures
    kind = {"hardlink": "a hard link", "symlink": "a symbolic link"}[name]
    assert (shard, failure.key) == ("s-000000.tar", "b")
    assert failure.reason.startswith(f"its part 'png' is {kind} to 'a.png', so its bytes are not in the sample")


def test_tars_of_gnu_tar_with_links_sparse_files_and_labels(tmp_path: Path) -> None:
    """By the program itself: -V writes a label, -S sparse files, twice the same inode a hard link."""
    raw = tmp_path / "raw"
    raw.mkdir()
    (raw / "a.txt").write_bytes(b"text of a")
    (raw / "b.txt").hardlink_to(raw / "a.txt")
    with (raw / "c.txt").open("wb") as file:
        file.truncate(1 << 20)
    (raw / "d.txt").write_bytes(b"text of d")
    for number, form in enumerate(["gnu", "posix", "oldgnu"]):
        folder = tmp_path / form
        folder.mkdir()
        names = ["a.txt", "b.txt", "c.txt", "d.txt"]
        tar = ["tar", "-S", f"--format={form}", "-V", "label.txt", "-cf", str(folder / "s.tar"), "-C", str(raw), *names]
        subprocess.run(tar, check=True)
        report = TarFolder(folder, measure).index()
        shards = Shards.open(folder)
        assert [shards.key(row) for row in range(len(shards))] == ["a", "d"], number
        reasons = {failure.key: failure.reason for _, failure in report.failures}
        assert "'txt' is a hard link to 'a.txt'" in reasons["b"]
        assert "'txt' is a sparse file" in reasons["c"]


def test_an_index_of_before_is_not_trusted_with_links(tmp_path: Path) -> None:
    """Rows of such samples, in an index that an earlier version wrote, fail one by one."""
    folder = case("hardlink", tmp_path)
    TarFolder(folder, image_size).index()
    shards = Shards.open(folder)
    data = (folder / "s-000000.tar").read_bytes()
    start = int(shards.offset[0] + shards.nbytes[0])
    crc = zlib.crc32(data[start : start + 1536])
    values = {"offset": np.array([start]), "nbytes": np.array([1536], np.int64), "crc": np.array([crc], np.uint32)}
    for name, value in values.items():
        column = CheckedColumn(value, entry_of(value), is_sound=lambda *_: True, whole=value.copy, is_checked=True)
        vars(shards.by_row)[name] = column
    with pytest.raises(RowError, match="sample 'b': its part 'png' is a hard link"):
        shards.read_page(0)


def test_sound_tars_have_no_list(tmp_path: Path) -> None:
    with webdataset.TarWriter(str(tmp_path / "s.tar")) as writer:
        for key, members in pages("a", 3).items():
            writer.write({"__key__": key, **members})
    report = TarFolder(tmp_path, measure, SKIP).index()
    assert (report.catalog.num_samples, report.skipped, report.failures) == (3, (), ())
    assert not (tmp_path / "index" / "left_out.jsonl").exists()
