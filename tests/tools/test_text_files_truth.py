import sys
from pathlib import Path

import pytest

import text_files_truth
from tests.helpers.paths import DATA
from text_reference import lines_of_file, shown


@pytest.mark.parametrize("name", ["tesseract-phototest", "tesseract-eurotext", "leptonlib-german"])
@pytest.mark.parametrize("suffix", [".alto.xml", ".hocr"])
def test_the_reference_reads_what_tesseract_wrote(name: str, suffix: str) -> None:
    lines = [shown(line) for line in lines_of_file(DATA / f"texts/{name}{suffix}")]
    written = (DATA / f"texts/{name}.txt").read_text().replace("\f", "")
    assert [line for line in lines if line] == text_files_truth.lines_of(written)


@pytest.mark.slow
def test_labels_of_real_files_are_what_the_reference_reads(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """The same command over test suites of others compares hundreds of pages."""
    assert text_files_truth.main([str(DATA / "texts")]) == 0
    assert "4 alto files" in capsys.readouterr().out
    other = f"alto={sys.executable} -c 'print(1)'"
    assert text_files_truth.main([str(DATA / "texts"), "--reference", other]) == 1
    assert text_files_truth.main([str(tmp_path)]) == 1, "nothing was compared"
