"""Links, loops, pipes and depths: each folder and file once, and what cannot be read costs itself."""

import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from wdstream.errors import ConfigError
from wdstream.raw.folders import LEADS_OUT
from wdstream.raw.listing import Listing, list_files

SEEN = "links to files that are read by their own names"


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def names(listing: Listing) -> list[str]:
    return [file.path for file in listing.files]


def test_a_link_to_its_own_folder_costs_nothing(tmp_path: Path) -> None:
    touch(tmp_path / "a/x.pdf", tmp_path / "y.pdf")
    (tmp_path / "a/self").symlink_to(tmp_path / "a")
    (tmp_path / "a/up").symlink_to("../..")
    (tmp_path / "loop").symlink_to("loop")
    listing = list_files(tmp_path)
    assert names(listing) == ["a/x.pdf", "y.pdf"]
    loop = ("loop", "a link to nothing that can be read: Too many levels of symbolic links")
    assert listing.unreadable == (loop, ("a/up", LEADS_OUT))


def test_linked_folders_and_files_are_read_once(tmp_path: Path) -> None:
    touch(tmp_path / "b/x.pdf", tmp_path / "b/y.jpg", tmp_path / "b/y.txt")
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "c").symlink_to("b")
    (tmp_path / "x.pdf").symlink_to("b/x.pdf")
    (tmp_path / "b/z.txt").symlink_to("y.txt")
    touch(tmp_path / "b/z.jpg")
    listing = list_files(tmp_path)
    assert names(listing) == ["b/x.pdf", "b/y.jpg", "b/z.jpg"]
    assert listing.ignored == {SEEN: 1}
    assert "b/z.txt" in listing.stamps, "one text may be that of two images"


def test_links_to_files_of_names_that_nobody_reads_are_read_once(tmp_path: Path) -> None:
    touch(tmp_path / "blobs/1234", tmp_path / ".hidden/a.pdf")
    for name, target in (("a.pdf", "blobs/1234"), ("b.pdf", "blobs/1234"), ("c.pdf", ".hidden/a.pdf")):
        (tmp_path / name).symlink_to(target)
    (tmp_path / "d").symlink_to(".hidden")
    assert names(list_files(tmp_path)) == ["a.pdf", "c.pdf"]


def test_fan_out_links_end(tmp_path: Path) -> None:
    for level in range(30):  # 2 to the power of 30 paths
        folder = tmp_path / f"level{level:02}"
        folder.mkdir()
        touch(folder / "x.pdf")
        for side in "ab":
            (folder / side).symlink_to(f"../level{level + 1:02}")
    listing = list_files(tmp_path)
    assert names(listing) == [f"level{level:02}/x.pdf" for level in range(30)]


def test_links_that_lead_out_are_named_or_followed_once(tmp_path: Path) -> None:
    raw, outside = tmp_path / "raw", tmp_path / "outside"
    touch(raw / "a.pdf", outside / "b.pdf", outside / "deep/c.pdf", outside / "text.txt", raw / "i.jpg")
    (outside / "back").symlink_to(raw)
    for name, target in (("folder", outside), ("again", outside), ("b.pdf", outside / "b.pdf")):
        (raw / name).symlink_to(target)
    (raw / "i.txt").symlink_to(outside / "text.txt")
    listing = list_files(raw)
    assert names(listing) == ["a.pdf", "i.jpg"]
    assert listing.unreadable == tuple((name, LEADS_OUT) for name in ("again", "b.pdf", "folder", "i.txt"))
    allowed = list_files(raw, allow_outside_links=True)
    assert names(allowed) == ["a.pdf", "again/deep/c.pdf", "b.pdf", "i.jpg"]
    assert (allowed.unreadable, "i.txt" in allowed.stamps) == ((), True)


@pytest.fixture
def deep(tmp_path: Path) -> Iterator[Path]:
    """A folder that may get deeper than pytest itself can remove."""
    yield tmp_path
    subprocess.run(["rm", "-rf", tmp_path / "d"], check=True)


def test_a_folder_of_1200_levels(deep: Path) -> None:
    here = os.open(deep, os.O_RDONLY)
    for level in range(1200):
        os.mkdir("d", dir_fd=here)
        below = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
        if level == 1100:
            os.close(os.open("x.pdf", os.O_CREAT | os.O_WRONLY, dir_fd=here))
    os.close(here)
    listing = list_files(deep)
    assert names(listing) == ["d/" * 1101 + "x.pdf"]
    assert len(listing.files[0].stem) < 150


def test_pipes_sockets_broken_links_and_closed_folders_are_named(tmp_path: Path) -> None:
    touch(tmp_path / "a.pdf", tmp_path / "closed/b.pdf")
    os.mkfifo(tmp_path / "pipe.pdf")
    os.mkfifo(tmp_path / "pipe.md")
    (tmp_path / "gone.jpg").symlink_to("nowhere.jpg")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "s.png"))
    (tmp_path / "closed").chmod(0)
    try:
        listing = list_files(tmp_path)
    finally:
        (tmp_path / "closed").chmod(0o700)
    named = dict(listing.unreadable)
    is_root = os.geteuid() == 0  # who may list everything
    assert named.pop("closed", None) == (None if is_root else "cannot be listed: Permission denied")
    assert named == {
        "gone.jpg": "a link to nothing that can be read: No such file or directory",
        "pipe.pdf": "is a pipe, a socket or a device, not a file",
        "s.png": "is a pipe, a socket or a device, not a file",
    }
    assert listing.ignored == {"broken link, pipe or device": 1}


def test_the_output_of_earlier_jobs_is_passed_over(tmp_path: Path) -> None:
    touch(tmp_path / "a.pdf", tmp_path / "old/make-shards.json", tmp_path / "old/shard-000000.tar")
    touch(tmp_path / "old/quarantine.jsonl", tmp_path / "mine/make-shards.json", tmp_path / "mine/rows.jsonl")
    listing = list_files(tmp_path)
    assert names(listing) == ["a.pdf", "mine/rows.jsonl"]
    assert listing.outputs == ("old",)


def test_names_that_are_no_utf8_and_suffixes_that_are_long(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"caf\xe9.pdf")).write_bytes(b"x")
    (tmp_path / ("x." + "\x1b" * 200)).write_bytes(b"x")
    listing = list_files(tmp_path)
    assert names(listing) == ["caf\udce9.pdf"]
    assert listing.ignored == {"." + "␛" * 9 + "..." + "␛" * 10: 1}
    (tmp_path / "a").mkdir()
    with pytest.raises(ConfigError, match="found a file"):
        list_files(tmp_path / os.fsdecode(b"caf\xe9.pdf"))
