from hypothesis import given, settings
from hypothesis import strategies as st

from wdstream.raw.registry import without_suffix
from wdstream.raw.source import RawFile
from wdstream.raw.stems import Stems, short_stem
from wdstream.shards.layout import validate_key


def page_key(stem: str, page: int) -> str:
    return RawFile(path="", kind="pdf", stem=stem, num_bytes=0).page_key(page)


def row_key(stem: str, line: int) -> str:
    return RawFile(path="", kind="rows", stem=stem, num_bytes=0).page_key(line, digits=6)


def stems(*paths: str) -> list[str]:
    found = Stems()
    for path in paths:
        found.add(short_stem(without_suffix(path)[0]))
    found.settle(lambda: paths)
    return [found.stem(path) for path in paths]


def test_stems_follow_the_path() -> None:
    assert stems("pdf/report.v2.pdf", "a.jpg", "deep/er/scan 1.tif") == ["pdf/report_v2", "a", "deep/er/scan_1"]
    assert page_key("pdf/report_v2", 3) == "pdf/report_v2@0003"
    assert page_key("a", 12345) == "a@12345"
    assert row_key("rows/mixed", 12) == "rows/mixed@000012"


def test_files_that_would_share_a_stem_keep_their_suffix() -> None:
    assert stems("a.jpg", "a.PNG", "b.tif") == ["a-jpg", "a-png", "b"]


def test_files_that_still_share_one_get_a_hash() -> None:
    first, second = stems("x.y.pdf", "x_y.pdf")
    assert first.startswith("x_y-pdf-") and second.startswith("x_y-pdf-") and first != second
    assert (first, second) == tuple(stems("x.y.pdf", "x_y.pdf"))


def test_other_scripts_and_long_names() -> None:
    chinese, russian = stems("报告/第一.pdf", "отчёт/первый.pdf")
    assert chinese.startswith("__") is False and chinese.isascii() and chinese != russian
    assert stems("__meta__.jpg") == ["k__meta__"]
    (long,) = stems("d" * 300 + "/" + "n" * 300 + ".pdf")
    validate_key(page_key(long, 1))


NAMES = st.text(alphabet=st.characters(exclude_characters="/\0"), min_size=1, max_size=70).filter(
    lambda name: name not in (".", "..")
)


@given(st.lists(st.lists(NAMES, min_size=1, max_size=5).map("/".join), min_size=1, max_size=8, unique=True))
@settings(deadline=None, max_examples=200)
def test_any_paths_give_valid_keys_all_different(bare: list[str]) -> None:
    found = stems(*(path + suffix for path in bare for suffix in (".pdf", ".jpeg")))
    assert len(set(found)) == 2 * len(bare)
    for stem in found:
        assert "@" not in stem
        for key in (stem, page_key(stem, 999_999), row_key(stem, 99_999_999)):
            validate_key(key)
