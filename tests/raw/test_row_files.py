"""Names in rows: which file is meant, and that none outside the folder is."""

from pathlib import Path

import pytest

from wdstream.errors import RowError
from wdstream.raw.reading import reading
from wdstream.raw.row_files import ImagesNear, is_image_file, resolve_image
from wdstream.raw.settings import RawSettings


def test_images_are_found_below_the_folder_only(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    (folder / "sub").mkdir(parents=True)
    (folder / "sub/a.png").write_bytes(b"x")
    (tmp_path / "secret.png").write_bytes(b"x")
    (folder / "link.png").symlink_to(tmp_path / "secret.png")
    (folder / "inner.png").symlink_to(folder / "sub/a.png")
    (folder / "loop.png").symlink_to(folder / "loop.png")
    assert resolve_image(folder, "sub/a.png") == folder / "sub/a.png"
    assert resolve_image(folder, "inner.png") == folder / "inner.png"
    outside = (str(tmp_path / "secret.png"), (tmp_path / "secret.png").as_uri())
    for name in ("../secret.png", "sub/../../secret.png", "link.png", *outside):
        with pytest.raises(RowError, match="leaves the folder of the JSONL file"):
            resolve_image(folder, name)
        assert resolve_image(folder, name, allow_outside=True).is_file()
    (folder / "out").symlink_to(tmp_path)
    for name in ("out/../set/sub/a.png", "out/../link.png"):  # not what they seem to be where `out` is a folder
        with pytest.raises(RowError, match="leaves the folder of the JSONL file"):
            resolve_image(folder, name)
    for name in ("sub/../sub/a.png", "./sub/x/../a.png", "x/../sub/./a.png"):
        assert resolve_image(folder, name) == folder / "sub/a.png"
    for name in (str(folder / "sub/a.png"), (folder / "sub/a.png").as_uri()):
        assert resolve_image(folder, name) == folder / "sub/a.png"
    with pytest.raises(RowError, match="image 'sub' is a folder; expected the name of an image file"):
        resolve_image(folder, "sub")
    for name in ("absent.png", "loop.png"):
        with pytest.raises(RowError, match=r"does not exist|cannot be found"):
            resolve_image(folder, name)
    for name in ("https://example.org/a.png", "file://server/a.png", "data:image/png;base64,AAAA"):
        with pytest.raises(RowError, match="is a URL; fetch it first"):
            resolve_image(folder, name)
    for name in ("", "a\0b"):
        with pytest.raises(RowError, match="is not a file name"):
            resolve_image(folder, name)
    with pytest.raises(RowError, match=r"cannot be found|does not exist"):
        resolve_image(folder, "n" * 5000)


def test_names_as_other_systems_write_them(tmp_path: Path) -> None:
    (tmp_path / "Sub").mkdir()
    for name in ("a.png", "Sub/two words.png", "caf\u00e9.png", "B.png", "b.png", "x\\y.png"):
        (tmp_path / name).write_bytes(b"x")
    assert resolve_image(tmp_path, "A.PNG") == tmp_path / "a.png"
    assert resolve_image(tmp_path, "sub\\two%20words.png") == tmp_path / "Sub/two words.png"
    assert resolve_image(tmp_path, "cafe\u0301.png") == tmp_path / "caf\u00e9.png"
    assert resolve_image(tmp_path, "x\\y.png") == tmp_path / "x\\y.png"  # such a file is there
    assert resolve_image(tmp_path, "b.png") == tmp_path / "b.png"
    with pytest.raises(RowError, match=r"image 'B.PNG' may be 'B.png' or 'b.png'; write it as the file is called"):
        resolve_image(tmp_path, "B.PNG")
    with pytest.raises(RowError, match=r"does not exist .*; the nearest name there is 'a.png'"):
        resolve_image(tmp_path, "aa.png")
    with pytest.raises(RowError, match=r"does not exist .*; the nearest name there is 'two words.png'"):
        resolve_image(tmp_path, "Sub\\two_words.png")
    for name in ("%2e%2e/a.png", "..\\a.png", "SUB/../../A.PNG"):
        with pytest.raises(RowError, match="leaves the folder"):
            resolve_image(tmp_path / "Sub", name)


def test_image_files_are_known_by_content(tmp_path: Path) -> None:
    (tmp_path / "scan").write_bytes(b"\x89PNG\r\n\x1a\n")
    (tmp_path / "notes.png").write_bytes(b"no picture")
    (tmp_path / "out").symlink_to(tmp_path / "scan")
    folder = tmp_path / "set"
    folder.mkdir()
    (folder / "link").symlink_to(tmp_path / "scan")
    assert is_image_file(tmp_path, " scan ") and is_image_file(tmp_path, "out")
    for name in ("notes.png", "", "set", "absent", "s" * 2000, "scan\nscan", "sc\0an"):
        assert not is_image_file(tmp_path, name)
    assert not is_image_file(folder, "link") and not is_image_file(folder, "../scan")


def test_names_without_a_suffix(tmp_path: Path) -> None:
    """As `image_id` of TextVQA and `page_ids` of MP-DocVQA have them."""
    for name in ("a.jpg", "b.png", "b.tif", "d.txt"):
        (tmp_path / name).write_bytes(b"x")
    assert resolve_image(tmp_path, "a") == tmp_path / "a.jpg"
    with pytest.raises(RowError, match=r"image 'b' may be 'b\.png' or 'b\.tif'; write it as the file is called"):
        resolve_image(tmp_path, "b")
    (tmp_path / "c.jpg").write_bytes(b"x")
    (tmp_path / "c.JPG").hardlink_to(tmp_path / "c.jpg")  # as a disk that takes no notice of case has it
    assert resolve_image(tmp_path, "c") == tmp_path / "c.jpg"
    for name in ("a.png", "d", "../a"):
        with pytest.raises(RowError):
            resolve_image(tmp_path, name)


def test_a_row_without_an_image_does_not_name_one_but_for_the_suffix(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images/doc_p0.jpg").write_bytes(b"x")
    (tmp_path / "7.png").write_bytes(b"x")
    near = ImagesNear([tmp_path])
    near.refuse_named({"id": "doc", "page_ids": ["doc_p1"], "title": "a doc_p0", "line": 7}, ())
    near.refuse_named({"page_ids": ["doc_p0"]}, {"page_ids"})
    near.refuse_named({"split": "7", "difficultyLevel": "7", "lang": "7", "tags": ["doc_p0"]}, ())  # of many rows
    for field, value, name in (("id", "7", "7"), ("page_ids", ["x", "doc_p0"], "doc_p0"), ("path", "a/7", "a/7")):
        with pytest.raises(RowError) as refused:
            near.refuse_named({"n": 1, field: value}, ())
        assert str(refused.value) == (
            f"field {field!r} has {name!r}, the name of an image file near the rows but for the suffix, and the row "
            f"has no image: say that it is its image with --map image={field} (and where it is, with --image-folder), "
            f"or metadata with --metadata-field {field}"
        )


def test_images_in_a_folder_below(tmp_path: Path) -> None:
    """As those of ChartQA and InfographicVQA are, whose rows have the name alone."""
    (tmp_path / "png").mkdir()
    (tmp_path / "png/10095.png").write_bytes(b"x")
    with pytest.raises(RowError) as refused:
        resolve_image(tmp_path, "10095.png")
    assert str(refused.value) == (
        "image '10095.png' does not exist (relative to the folder of the JSONL file); png/10095.png is there; images "
        "in another folder of RAW: --image-folder"
    )


def test_images_that_are_still_packed(tmp_path: Path) -> None:
    """As LLaVA's and others' come: rows, and an archive of the images next to them."""
    (tmp_path / "images.ZIP").write_bytes(b"PK")
    with pytest.raises(RowError) as refused:
        resolve_image(tmp_path, "coco/1.jpg")
    assert str(refused.value) == (
        "image 'coco/1.jpg' does not exist (relative to the folder of the JSONL file); images.ZIP is there: images of "
        "rows are files, so unpack it; images in another folder of RAW: --image-folder"
    )


def test_the_nearest_name_in_a_large_folder_is_one_that_begins_alike(tmp_path: Path) -> None:
    for number in range(1200):
        (tmp_path / f"page-{number:04d}.png").touch()
    with pytest.raises(RowError, match=r"the nearest name there is 'page-1100\.png'"):
        resolve_image(tmp_path, "page-1100.pn")
    with pytest.raises(RowError, match=r"the nearest name there is 'page-1199\.png'"):
        resolve_image(tmp_path, "page-1199.pgn")
    assert resolve_image(tmp_path, "PAGE-0700.PNG") == tmp_path / "page-0700.png"


@pytest.mark.parametrize(
    "name", ["/home/bob/data/sub/a.png", "C:\\data\\sub\\a.png", "D:/sub/a.png", "file:///C:/data/sub/a.png"]
)
def test_a_path_of_another_machine_is_named_as_one(tmp_path: Path, name: str) -> None:
    """`--allow-outside-images` was advised, which cannot help."""
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a.png").write_bytes(b"x")
    for allow_outside in (False, True):
        with pytest.raises(
            RowError, match=r"is not on this machine; name images .* \('sub/a.png' is there\), or to an"
        ):
            resolve_image(tmp_path, name, allow_outside=allow_outside)


def test_links_that_are_allowed_to_lead_out_are_so_for_images_of_rows(tmp_path: Path) -> None:
    """As in snapshots of Hugging Face's cache."""
    folder = tmp_path / "snapshots" / "1"
    folder.mkdir(parents=True)
    (tmp_path / "blob").write_bytes(b"x")
    (folder / "a.png").symlink_to("../../blob")
    with reading(folder, RawSettings()), pytest.raises(RowError, match="or --allow-outside-links for all links"):
        resolve_image(folder, "a.png")
    with reading(folder, RawSettings(allow_outside_links=True)):
        assert resolve_image(folder, "a.png") == folder / "a.png"
        with pytest.raises(RowError, match="leaves the folder"):
            resolve_image(folder, "../../blob")
