"""The words of the house: what the check finds, and that nothing offends."""

from pathlib import Path

import pytest

from check_terms import HERE, offences, prose_files

ALLOWED = 0  # a ratchet that has reached its end


def test_the_prose_of_the_repository() -> None:
    found = [str(offence) for path in prose_files() for offence in offences(path)]
    assert len(found) <= ALLOWED, "\n".join(found)


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("a.md", "It was `learnt`, and goes\non.", ["goes on"]),
        ("a.md", "A token stands for pixels, and tells two apart.", []),
        ("a.py", '"""Told\nof progress."""', ["Told"]),
        ("a.py", "# so\n# many\n\n# many\n", ["so many"]),
        ("a.py", 'raise ValueError(f"{count} tokens a "\n    f"pack: it lies there")', ["tokens a pack", "lies"]),
        ("a.py", "def goes_on() -> None:\n    sold = 'untold'\n", ["goes_on"]),
        ("a.yaml", "x: 1  # packs a step\n", ["packs a step"]),
    ],
)
def test_what_is_found(tmp_path: Path, name: str, text: str, expected: list[str]) -> None:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    assert [offence.words for offence in offences(path, tmp_path)] == expected


def test_data_of_tests_is_no_prose(tmp_path: Path) -> None:
    (tmp_path / "tests").mkdir()
    path = tmp_path / "tests" / "a.py"
    path.write_text('"""It lies there."""\npage = "and so it lies anew"\n', encoding="utf-8")
    assert [offence.line for offence in offences(path, tmp_path)] == [1]


def test_every_folder_with_prose_is_read() -> None:
    folders = {path.relative_to(HERE).parts[0] for path in prose_files()}
    assert {"wdstream", "tools", "tests", "docs", "configs", "README.md"} <= folders
