"""Names in rows: which file is meant, and that none outside the folder is."""

from pathlib import Path

import pytest

from wdstream.errors import RowError
from wdstream.raw.row_files import is_image_file, resolve_image


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
    for name in ("../secret.png", "sub/../sub/a.png", "link.png", *outside):
        with pytest.raises(RowError, match="leaves the folder of the JSONL file"):
            resolve_image(folder, name)
        assert resolve_image(folder, name, allow_outside=True).is_file()
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
