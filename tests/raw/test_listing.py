import tracemalloc
from pathlib import Path

import pytest

from tests.helpers.paths import DATA
from wdstream.errors import ConfigError
from wdstream.raw.listing import list_files
from wdstream.raw.registry import source_of_name, without_suffix


def touch(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("a.b.pdf", ("a.b", ".pdf", "pdf")),
        ("a.PDF.gz", ("a", ".PDF.gz", "pdf")),
        ("x.TIFF", ("x", ".TIFF", "image")),
        ("rows.jsonl", ("rows", ".jsonl", "rows")),
        ("notes.txt", ("notes", ".txt", None)),
        (".pdf", (".pdf", "", None)),
        ("archive.gz", ("archive", ".gz", None)),
    ],
)
def test_names_and_sources(name: str, split: tuple[str, str, str | None]) -> None:
    source = source_of_name(Path(), name)
    assert (*without_suffix(name), source and source.kind) == split


@pytest.mark.parametrize(
    ("name", "content", "kind"),
    [
        ("rows.json", b'[{"text": "a"}]', "rows"),
        ("lines.json", b'{"text": "a"}\n{"text": "b"}\n', "rows"),
        ("config.json", b'{"dpi": 150}', None),
        ("images.csv", b"image,text\na.png,A\n", "csv"),
        ("numbers.csv", b"x,y\n1,2\n", None),
        ("absent.json", None, None),
    ],
)
def test_content_decides_where_a_suffix_does_not(
    tmp_path: Path, name: str, content: bytes | None, kind: str | None
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    source = source_of_name(tmp_path, name)
    assert (source and source.kind) == kind


def test_the_shipped_pages() -> None:
    listing = list_files(DATA / "pages")
    kinds = [file.kind for file in listing.files]
    assert (kinds.count("pdf"), kinds.count("image"), kinds.count("rows")) == (26, 10, 1)
    assert len(listing.left_to_rows) == 6
    assert listing.ignored == {}
    assert [file.path for file in listing.files] == sorted(file.path for file in listing.files)
    assert listing.files[0].stem == "images/img2table-borderless_1"


def test_order_sidecars_and_what_is_ignored(tmp_path: Path) -> None:
    touch(
        tmp_path, "b/z.pdf", "b/z.3.txt", "a.png", "a.png.txt", "c.jpg", "c.txt", "README.md", "orphan.txt", ".hidden"
    )
    touch(tmp_path, ".git/x.pdf", "b/page.1.png", "b/page.1.txt")
    listing = list_files(tmp_path)
    assert [file.path for file in listing.files] == ["a.png", "b/page.1.png", "b/z.pdf", "c.jpg"]
    assert listing.ignored == {".md": 1, ".txt": 1, "names that begin with a dot": 2}
    assert listing.num_bytes == sum(len(file.path) for file in listing.files)


def test_images_below_a_jsonl_file_belong_to_its_rows_unless_they_have_text(tmp_path: Path) -> None:
    touch(tmp_path, "set/rows.jsonl", "set/a.png", "set/deep/b.jpg", "set/deep/c.jpg", "set/deep/c.txt", "other/d.png")
    listing = list_files(tmp_path)
    assert [file.path for file in listing.files] == ["other/d.png", "set/deep/c.jpg", "set/rows.jsonl"]
    assert listing.left_to_rows == ("set/a.png", "set/deep/b.jpg")


def test_links_are_followed_once_and_the_output_is_passed_over(tmp_path: Path) -> None:
    touch(tmp_path, "raw/a/x.pdf", "elsewhere/y.pdf", "raw/out/shard.pdf")
    (tmp_path / "raw/loop").symlink_to(tmp_path / "raw")
    (tmp_path / "raw/link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "raw/broken.pdf").symlink_to(tmp_path / "absent")
    listing = list_files(tmp_path / "raw", exclude=tmp_path / "raw/out", allow_outside_links=True)
    assert [file.path for file in listing.files] == ["a/x.pdf", "link/y.pdf"]
    assert [name for name, _ in listing.unreadable] == ["broken.pdf"]


def test_the_digest_follows_names_and_sizes_of_all_that_is_used(tmp_path: Path) -> None:
    touch(tmp_path, "a.png", "a.txt", "notes.md")
    before = list_files(tmp_path).digest
    touch(tmp_path, "more.md")
    assert list_files(tmp_path).digest == before
    (tmp_path / "a.txt").write_text("longer text")
    assert list_files(tmp_path).digest != before


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"absent: expected a folder of raw pages .* found nothing there"):
        list_files(tmp_path / "absent")
    touch(tmp_path, "a.pdf")
    with pytest.raises(ConfigError, match="found a file"):
        list_files(tmp_path / "a.pdf")


def test_a_folder_of_many_files_is_listed_in_little_memory(tmp_path: Path) -> None:
    names = [f"page-{number:06d}" for number in range(6_000)]
    for name in names:
        (tmp_path / f"{name}.jpg").touch()
        (tmp_path / f"{name}.txt").touch()
    list_files(tmp_path)  # what is kept for all folders
    tracemalloc.start()
    try:
        listing = list_files(tmp_path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert [file.path for file in listing.files] == [f"{name}.jpg" for name in names]
    assert all(file.sidecars == (f"{name}.txt",) for file, name in zip(listing.files, names, strict=True))
    assert peak / (2 * len(names)) < 600, "bytes for each file"
