"""Key rules, and the grouping of members into samples."""

import io
import re
import tarfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers.fake_shards import EXTENSIONS, KEYS
from wdstream.errors import ShardError
from wdstream.shards.layout import (
    ShardPaths,
    group_samples,
    image_number,
    split_name,
    split_sample,
    validate_extension,
    validate_key,
)
from wdstream.shards.tar_header import make_header, padded, walk


def sample_bytes(names: dict[str, bytes]) -> bytes:
    return b"".join(
        make_header(name, len(data)) + data + bytes(padded(len(data)) - len(data)) for name, data in names.items()
    )


@pytest.mark.parametrize("key", ["a", "docs/p1", "a.b/c", "_x", "A-1_2", "a" * 83, "d" * 150 + "/" + "k" * 80])
def test_good_keys(key: str) -> None:
    validate_key(key)


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("page.v2", "has a dot in its basename"),
        ("docs/page.v2", "has a dot in its basename"),
        (".hidden", "has a dot in its basename"),
        ("", "empty or not safe"),
        ("/etc/passwd", "not safe"),
        ("a/../../b", "not safe"),
        ("a\nb", "not safe"),
        ("a\0b", "not safe"),
        ("a b", "ASCII"),
        ("größe", "ASCII"),
        ("a\\b", "ASCII"),
        ("a//b", "empty or '.' component"),
        ("./a", "empty or '.' component"),
        ("a/", "empty or '.' component"),
        ("__meta__/a", "starts with '__'"),
        ("a" * 84, "does not fit USTAR"),
        ("\ud800", "not safe"),
    ],
)
def test_bad_keys(key: str, message: str) -> None:
    with pytest.raises(ShardError, match=message):
        validate_key(key)


@pytest.mark.parametrize("extension", ["", "JPG", ".jpg", "a/b", "jpg.", "a b", "x" * 17])
def test_bad_extensions(extension: str) -> None:
    with pytest.raises(ShardError, match="lower case letters"):
        validate_extension(extension)


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("a.jpg", ("a", "jpg")),
        ("d.x/a.0.JPG", ("d.x/a", "0.jpg")),
        ("./a.txt", ("./a", "txt")),
        ("a.seg.png", ("a", "seg.png")),
        ("README", None),
        ("._a.jpg", None),
        ("d/._a.jpg", None),
        ("__meta__", None),
        ("__meta__/info.json", None),
    ],
)
def test_names_split_as_webdataset_splits_them(name: str, split: tuple[str, str] | None) -> None:
    assert split_name(name) == split
    match = re.match(r"^((?:.*/|)[^.]+)[.]([^/]*)$", name)  # webdataset's base_plus_ext
    if split is not None:
        assert match is not None
        assert (match[1], match[2].lower()) == split


@pytest.mark.parametrize("name", ["/a.jpg", "../a.jpg", "a/../b.jpg", "a\x01.jpg"])
def test_unsafe_names_of_others_are_refused(name: str) -> None:
    with pytest.raises(ShardError, match="not safe as a path"):
        split_name(name)


def test_numbers_of_images() -> None:
    assert [image_number(name) for name in ("0.jpg", "12.png", "01.jpg", "jpg", "0.txt", "-1.jpg")] == [
        0,
        12,
        None,
        None,
        None,
        None,
    ]


def test_names_of_the_three_files() -> None:
    paths = ShardPaths.of(Path("d/s-000.tar"))
    assert (paths.tar.name, paths.idx.name, paths.meta.name) == ("s-000.tar", "s-000.tar.idx", "s-000.meta.npz")
    with pytest.raises(ShardError, match=r"ends in \.tar"):
        ShardPaths.of(Path("d/s-000.tgz"))


@given(key=KEYS, members=st.dictionaries(EXTENSIONS, st.binary(max_size=2000), min_size=1, max_size=5))
@settings(deadline=None)
def test_split_sample_gives_back_what_was_written(key: str, members: dict[str, bytes]) -> None:
    data = sample_bytes({f"{key}.{extension}": data for extension, data in members.items()})
    assert split_sample(data) == (key, members)


def test_split_sample_reads_members_with_pax_headers_and_skips_folders() -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, data in [("a.jpg", b"123"), ("dir", None), ("a.TXT", b"text")]:
            info = tarfile.TarInfo(name)
            info.mtime = 0.5
            info.size = len(data or b"")
            info.type = tarfile.REGTYPE if data is not None else tarfile.DIRTYPE
            tar.addfile(info, io.BytesIO(data or b""))
    assert split_sample(buffer.getvalue()[: 9 * 512 + 2 * 512]) == ("a", {"jpg": b"123", "txt": b"text"})


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ({"a.txt": b"", "b.txt": b""}, r"one sample, found 2: \['a', 'b'\]"),
        ({"README": b""}, "found 0"),
        ({"a.txt": b"", "a.TXT": b""}, "two members 'txt'"),
        ({"a.txt": b"", "README": b"x"}, "one sample"),
        ({"README": b"x", "a.txt": b""}, "one sample"),
    ],
)
def test_bytes_that_are_not_one_sample_are_refused(names: dict[str, bytes], message: str) -> None:
    with pytest.raises(ShardError, match=message):
        split_sample(sample_bytes(names))


def test_empty_bytes_are_refused() -> None:
    with pytest.raises(ShardError, match="0 bytes should hold one sample"):
        split_sample(b"")


def test_files_in_no_sample_are_named_with_the_sample_before_them() -> None:
    """Those before the first sample with the first; what webdataset keeps for itself is none."""
    names = ["README", "x/.b.jpg", "a.jpg", "a.txt", "._a.txt", "__meta__/n", "c", "d.txt", "e", "e.txt", "images/d"]
    header = b"".join(make_header(name, 0) for name in names) + bytes(1024)
    spans = list(group_samples(walk(lambda start, size: header[start : start + size], 0, len(header))))
    assert [(span.key, tuple(stray.name for stray in span.strays)) for span in spans] == [
        ("a", ("README", "x/.b.jpg", "._a.txt", "c")),
        ("d", ()),
        ("e", ("images/d",)),
    ]
    assert spans[2].fault.startswith("the file 'e' next to it")


def test_a_name_that_webdataset_keeps_for_itself_may_be_that_of_the_next_sample() -> None:
    header = b"".join(make_header(name, 0) for name in ("__a__", "__a__.txt")) + bytes(1024)
    (span,) = group_samples(walk(lambda start, size: header[start : start + size], 0, len(header)))
    assert (span.key, span.strays) == ("__a__", ())
    assert span.fault.startswith("the file '__a__' next to it")
