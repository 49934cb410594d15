"""From raw folders to pages of shards, by the texts next to images and PDFs."""

import io
import json
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from tests.helpers.paths import DATA, ROOT
from wdstream.errors import ConfigError, SourceError
from wdstream.raw.listing import list_files
from wdstream.raw.reading import reading
from wdstream.raw.registry import source_of_kind
from wdstream.raw.settings import RawSettings
from wdstream.raw.source import PageRange, RawFile, StoredPage
from wdstream.raw.texts import finder
from wdstream.raw.texts.names import TextName, readings
from wdstream.records import TextSegment

TEXTS = DATA / "texts"


def read_all(raw: Path, **settings: object) -> list[StoredPage | str]:
    """Every page of a folder, or the reason why it is none."""
    chosen = RawSettings.of(settings)
    listing = list_files(raw, text_from=chosen.text_from, keep_layers=chosen.document_text == "layer")
    return [page for file in listing.files for page in _pages(raw, file, chosen)]


def _pages(raw: Path, file: RawFile, settings: RawSettings) -> list[StoredPage | str]:
    source, path = source_of_kind(file.kind), raw / file.path
    num_pages, _ = source.survey(path)
    file = file._replace(num_pages=num_pages)
    found: list[StoredPage | str] = []
    with source.open(PageRange(file=file, first=1, count=num_pages), path, settings) as reader:
        for number in range(1, num_pages + 1):
            try:
                page = reader.read(number)
                assert page is not None
                found.append(page)
            except SourceError as error:
                found.append(str(error))
    return found


def label(page: StoredPage | str) -> str:
    assert isinstance(page, StoredPage), page
    return "".join(segment.text for segment in page.page.segments if isinstance(segment, TextSegment))


def blank(path: Path, size: tuple[int, int] = (200, 100), pages: int = 1) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    frames = [Image.new("1", size, 1) for _ in range(pages)]
    if pages > 1:
        frames[0].save(path, save_all=True, append_images=frames[1:])
    else:
        frames[0].save(path)


def alto(*words: str, size: str = 'WIDTH="200" HEIGHT="100"') -> str:
    pages = "".join(
        f'<Page {size}><PrintSpace><TextBlock><TextLine HPOS="1" VPOS="2" WIDTH="30" HEIGHT="4">'
        f'<String CONTENT="{word}"/></TextLine></TextBlock></PrintSpace></Page>'
        for word in words
    )
    return f"<alto><Layout>{pages}</Layout></alto>"


@pytest.mark.parametrize("suffix", [".alto.xml", ".hocr"])
def test_files_of_tesseract_next_to_their_images(tmp_path: Path, suffix: str) -> None:
    for name in ("tesseract-phototest.tif", "leptonlib-german.png", "pillow-g4-multi.tiff"):
        shutil.copy(DATA / "pages/images" / name, tmp_path)
        shutil.copy(TEXTS / f"{Path(name).stem}{suffix}", tmp_path)
    pages = read_all(tmp_path)
    assert [label(page) for page in pages[1:]] == [
        "Pagel",
        "Page2",
        "Page3",
        (TEXTS / "tesseract-phototest.txt").read_text().strip("\n\f"),
    ]
    german = pages[0]
    assert isinstance(german, StoredPage)
    meta = german.page.meta
    assert meta["source"] == "leptonlib-german.png"
    assert meta["text_file"] == f"leptonlib-german{suffix}"
    boxes = meta["line_boxes"]
    assert isinstance(boxes, list)
    lines = [line for line in label(german).split("\n") if line]
    assert len(boxes) == len(lines) == 25
    width, height = german.sizes[0]
    assert all(0 <= box[0] < box[2] <= width and 0 <= box[1] < box[3] <= height for box in boxes)
    json.dumps(dict(meta))


def test_boxes_are_around_ink(tmp_path: Path) -> None:
    """Boxes of lines hold the ink of the picture that is stored, also where it has another size than ALTO says."""
    image = Image.open(DATA / "pages/images/tesseract-phototest.tif").convert("L")
    image.resize((image.width // 2, image.height // 2)).save(tmp_path / "1.png")
    shutil.copy(TEXTS / "tesseract-phototest.alto.xml", tmp_path / "1.xml")
    (page,) = read_all(tmp_path)
    assert isinstance(page, StoredPage)
    stored = Image.open(io.BytesIO(page.page.images[0])).convert("L")
    dark = stored.point(lambda value: 255 if value < 128 else 0)
    boxes = page.page.meta["line_boxes"]
    assert isinstance(boxes, list)
    inside = Image.new("L", stored.size, 0)
    for box in boxes:
        assert dark.crop(tuple(box)).getbbox() is not None
        inside.paste(255, tuple(box))
    outside = sum(1 for ink, here in zip(dark.tobytes(), inside.tobytes(), strict=True) if ink and not here)
    assert outside < 0.02 * sum(1 for ink in dark.tobytes() if ink)


def test_the_text_of_another_picture_is_refused(tmp_path: Path) -> None:
    blank(tmp_path / "1.png", (100, 200))
    (tmp_path / "1.xml").write_text(alto("one"))
    (reason,) = read_all(tmp_path)
    assert str(reason).startswith(
        "its text is that of a picture that is turned by a quarter: of 200 x 100, the image has"
    )
    (page,) = read_all(tmp_path, check_text_size=False)
    assert label(page) == "one"


def test_a_file_for_all_pages_and_counts_that_do_not_match(tmp_path: Path) -> None:
    blank(tmp_path / "a.tif", pages=2)
    (tmp_path / "a.xml").write_text(alto("one", "two"))
    assert [label(page) for page in read_all(tmp_path)] == ["one", "two"]
    for words in (("one",), ("one", "two", "three")):
        (tmp_path / "a.xml").write_text(alto(*words))
        reasons = read_all(tmp_path)
        assert len(reasons) == 2
        assert all(
            str(reason).startswith(f"text file holds {len(words)} pages, a.tif has 2: a.xml") for reason in reasons
        )
    (tmp_path / "a.xml").unlink()
    (tmp_path / "a.2.xml").write_text(alto("two"))
    pages = read_all(tmp_path)
    assert (pages[0], label(pages[1])) == ("no text: a.2.xml has none", "two")


def test_an_alto_of_two_pages_next_to_one_image(tmp_path: Path) -> None:
    blank(tmp_path / "1.png")
    (tmp_path / "1.xml").write_text(alto("one", "two"))
    assert str(read_all(tmp_path)[0]).startswith(
        "text file holds 2 pages, 1.png has 1: 1.xml cannot be matched to pages"
    )


def test_other_texts(tmp_path: Path) -> None:
    for name, text in (
        ("1.gt.txt", "one\n"),
        ("2.md", "# two\n\n![](p.png)"),
        ("3.html", "<html><body><p>three</p></body></html>"),
        (
            "page/4.xml",
            "<PcGts><Page><TextRegion><TextEquiv><Unicode>four</Unicode></TextEquiv></TextRegion></Page></PcGts>",
        ),
    ):
        blank(tmp_path / f"{Path(name).name.split('.')[0]}.png")
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    pages = read_all(tmp_path)
    assert [label(page) for page in pages] == ["one", "# two", "<p>three</p>", "four"]
    found = [page.page.meta["text_from"] for page in pages if isinstance(page, StoredPage)]
    assert found == ["ground truth", "markdown", "html", "page xml"]


def test_reasons_name_the_file(tmp_path: Path) -> None:
    blank(tmp_path / "1.png")
    cases = {
        "1.xml": (b"<dc/>", "is neither ALTO nor PAGE nor hOCR: it has a root element dc; in the text file 1.xml"),
        "1.gt.txt": (b"caf\xe9", "text is not UTF-8 (byte 3); convert it; in the text file 1.gt.txt"),
        "1.md": (b" \n", "no text: 1.md has none"),
        "1.TXT": (b" \n", "no text: 1.TXT has none"),
    }
    for name, (content, reason) in cases.items():
        (tmp_path / name).write_bytes(content)
        assert read_all(tmp_path) == [reason]
        (tmp_path / name).unlink()
    assert read_all(tmp_path) == ["no text: no text file beside it"]
    (tmp_path / "alto").mkdir()
    (tmp_path / "alto/1.xml").write_text(alto("one"))
    assert read_all(tmp_path) == ["no text: no text file beside it; alto/1.xml is there: --text-from alto/"]
    assert [label(page) for page in read_all(tmp_path, text_from=("alto/",))] == ["one"]
    (tmp_path / "1.xml").write_text(alto("x" * 10_000))
    with reading(tmp_path, RawSettings(max_text_bytes=1000)):
        assert read_all(tmp_path) == [
            "1.xml of 10,197 bytes is above the limit of 1,000 (--max-text-bytes); in the text file 1.xml"
        ]


def test_markdown_next_to_a_pdf(tmp_path: Path) -> None:
    shutil.copy(DATA / "pages/pdf/diagram-package-lifecycle.pdf", tmp_path / "a.pdf")
    shutil.copy(DATA / "pages/pdf/handbook-fa-sect.user-space.pdf", tmp_path / "b.pdf")
    (tmp_path / "a.md").write_text("# One page")
    (tmp_path / "b.md").write_text("# Two pages, and no mark")
    first, *others = read_all(tmp_path)
    assert label(first) == "# One page"
    assert len(others) == 2
    assert all(
        "b.md cannot be matched to pages" in str(reason) and "--document-text layer" in str(reason) for reason in others
    )
    layers = read_all(tmp_path, document_text="layer")
    assert [page.page.meta["text_from"] for page in layers if isinstance(page, StoredPage)] == ["text layer"] * 3
    (tmp_path / "b.md").write_text("# One\n\n<!-- page break -->\n\n# Two")
    assert [label(page) for page in read_all(tmp_path)[1:]] == ["# One", "# Two"]


EXAMPLES = {
    "alto": [("alto", "The (quick) [brown] {fox} jumps!")],
    "hocr": [("hocr", "x Ginngebichte. 155"), *(("hocr", text) for text in ("Pagel", "Page2", "Page3"))],
    "page-xml": [("page xml", "This is a lot of 12 point text to test the")],
    "gt-txt": [
        *2 * [("ground truth", "This is a lot of 12 point text to test the")],
        ("ground truth", "ocr code and see if it works on all types"),
    ],
    "markdown": [("markdown", "# ACME Inc.")],
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_examples(name: str) -> None:
    pages = read_all(ROOT / "examples" / name, text_from=("alto/",) if name == "alto" else ())
    found = [
        (page.page.meta["text_from"], label(page).split("\n")[0]) for page in pages if isinstance(page, StoredPage)
    ]
    assert found == EXAMPLES[name]
    assert len(pages) == len(found)


def test_without_lxml(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blank(tmp_path / "1.png")
    (tmp_path / "1.xml").write_text(alto("one"))
    monkeypatch.setitem(__import__("sys").modules, "lxml.etree", None)
    with pytest.raises(
        ConfigError, match=r"reading ALTO, hOCR and PAGE XML needs .*; run pip install 'wdstream\[xml\]'"
    ):
        read_all(tmp_path)


@pytest.mark.parametrize(
    ("image", "text"),
    [
        ("A.png", "a.txt"),
        ("a.PNG", "A.Txt"),
        ("a.png", "A.md"),
        ("u\u0308.png", "\u00fc.txt"),
        ("\u00fc.png", "u\u0308.xml"),
    ],
)
def test_a_text_whose_name_differs_in_case_or_unicode_form_is_named(tmp_path: Path, image: str, text: str) -> None:
    """As on a disk that takes no notice of it."""
    blank(tmp_path / image)
    (tmp_path / text).write_text("text")
    reason = f"no text: no text file beside it; {text} is there, whose name differs in case or Unicode form: rename it"
    assert read_all(tmp_path) == [reason]


def test_names_that_differ_in_case_are_found_without_reading_all_names_for_each(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A folder from a disk that takes no notice of case: 4,000 images took 17 s, 50,000 an hour."""
    num_read = Counter[str]()

    def counted(name: str) -> Iterator[TextName]:
        num_read[name] += 1
        return readings(name)

    monkeypatch.setattr(finder, "readings", counted)
    texts = finder.TextFinder((), lambda path, most: b"")
    texts.add("", [f"a{number}.txt" for number in range(100)])
    for number in range(100):
        assert texts.near("", f"A{number}.JPG", f"A{number}") == f"a{number}.txt"
    assert max(num_read.values()) < 6
