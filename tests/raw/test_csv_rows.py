import csv
import io
from pathlib import Path

import pytest

from tests.helpers.tables import small_images
from wdstream.errors import PageError, SourceError
from wdstream.raw.csv_rows import CsvSource, find_records
from wdstream.raw.settings import RawSettings
from wdstream.raw.source import PageRange, RawFile, StoredPage
from wdstream.records import TextSegment


def read(path: Path, first: int = 1) -> list[object]:
    """For each record its text and metadata, None for a blank line, or the reason."""
    num_pages, marks = CsvSource().survey(path)
    file = RawFile(path=path.name, kind="csv", stem="m", num_bytes=1, num_pages=num_pages, marks=marks)
    pages = PageRange(file=file, first=first, count=num_pages - first + 1)
    found: list[object] = []
    with CsvSource().open(pages, path, RawSettings()) as reader:
        for number in pages.numbers:
            try:
                found.append(_short(reader.read(number)))
            except PageError as error:
                found.append(str(error))
    return found


def _short(page: StoredPage | None) -> object:
    if page is None:
        return None
    assert page.page.images == (small_images()[0],)
    texts = [segment.text for segment in page.page.segments if isinstance(segment, TextSegment)]
    return texts[0], {name: value for name, value in page.page.meta.items() if name not in ("source", "line")}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "a.jpg").write_bytes(small_images()[0])
    return tmp_path


def test_records_of_an_imagefolder(folder: Path) -> None:
    path = folder / "metadata.csv"
    path.write_bytes(
        '\ufefffile_name,text,lang\r\na.jpg,"Two\r\nlines, ""x""",de\r\n\r\na.jpg,é,\r\na.jpg,last'.encode()
    )
    assert read(path) == [
        ('Two\r\nlines, "x"', {"lang": "de"}),
        None,
        ("é", {}),
        "record has 2 cells, the first line names 3 columns",
    ]
    assert read(path, 3)[0] == ("é", {})


@pytest.mark.parametrize(
    "before",
    [
        b"\n",
        b"\r\n\r\n",
        b"# made by a program, 2024\n",
        b"\xef\xbb\xbfsep=,\r\n",
        b'"sep=,"\n',
        b"# 3 images\n\n# of x\n",
    ],
)
def test_lines_before_the_names_of_columns(folder: Path, before: bytes) -> None:
    """The table was ignored, or its names were read as a row."""
    path = folder / "metadata.csv"
    path.write_bytes(before + b"file_name,text,lang\n#a.jpg,x,de\na.jpg,one,de\n\na.jpg,two,\n")
    assert CsvSource().recognises(path.read_bytes())
    absent = (
        "image '#a.jpg' does not exist (relative to the folder of the JSONL file); the nearest name there is 'a.jpg'"
    )
    found = read(path)
    assert str(found[0]).startswith(absent)
    assert found[1:] == [("one", {"lang": "de"}), None, ("two", {})]
    assert read(path, 4) == [("two", {})]


def test_what_begins_with_a_hash_and_names_columns(folder: Path) -> None:
    path = folder / "metadata.csv"
    for names in (b"#id,file_name,text\n7,a.jpg,one\n", b"#\n#id,image,text\n7,a.jpg,one\n"):
        path.write_bytes(names)
        assert read(path) == [("one", {"#id": "7"})]
    for table in (b"# a table of words\nword,count\na,1\n", b"\n" * 200 + b"file_name,text\na.jpg,x\n", b"#\n\n", b""):
        assert not CsvSource().recognises(table)


@pytest.mark.parametrize("delimiter", ["\t", ";", ",", "|"])
def test_delimiters(folder: Path, delimiter: str) -> None:
    path = folder / "rows.tsv"
    path.write_text(f"image{delimiter}text\na.jpg{delimiter}plain\n")
    assert read(path) == [("plain", {})]


def test_quotes_inside_of_cells(folder: Path) -> None:
    path = folder / "rows.csv"
    path.write_text('image,text\na.jpg,5" screen\na.jpg,"x, ""y""\nz"\na.jpg,b\n')
    assert read(path) == [('5" screen', {}), ('x, "y"\nz', {}), ("b", {})]
    path.write_text('image,text\na.jpg,"never closed\na.jpg,b\n')
    assert [str(found)[:15] for found in read(path)] == ["a quote is open"]  # and not the first line again


def test_a_bad_record_costs_itself(folder: Path) -> None:
    path = folder / "metadata.csv"
    path.write_bytes(b'file_name,text\na.jpg,\xff\na.jpg,"x" y\nb.jpg,none\na.jpg,good\n')
    found = read(path)
    assert [str(outcome)[:22] for outcome in found[:3]] == [
        "not UTF-8 (byte 6 of t",
        "not readable as CSV: '",
        "image 'b.jpg' does not",
    ]
    assert found[3] == ("good", {})
    path.write_bytes(b'file_name,text\na.jpg,good\na.jpg,"open\na.jpg,lost\n')
    assert read(path) == [("good", {}), "a quote is open at the end of the file; the rows from here on are lost"]


def test_which_files_are_rows(folder: Path) -> None:
    yes = (b"file_name,text", b"image;caption", b"id\timg_path\ttext", b'"page image",text', b"FILENAME,IDENTITY")
    no = (b"level\tpage_num\tconf\ttext", b"word,count", b"", b"\xff\xfef\0i\0l\0e\0", b"image_id,image_width")
    assert all(CsvSource().recognises(head + b"\nx,y\n") for head in yes)
    assert not any(CsvSource().recognises(head + b"\nx,y\n") for head in no)
    (folder / "twice.csv").write_bytes(b"image,text,text\na.jpg,a,b\n")
    with pytest.raises(SourceError, match="column 'text' is there twice"):
        CsvSource().survey(folder / "twice.csv")


def test_columns_are_those_of_the_delimiter_that_finds_most(folder: Path) -> None:
    """Flickr30k's `results.csv`; with commas looked for first, its line was one name that speaks of images."""
    (folder / "results.csv").write_text("image_name| comment_number| text\na.jpg| 0| two, or more\n")
    assert read(folder / "results.csv") == [(" two, or more", {"comment_number": " 0"})]
    (folder / "x.tsv").write_text("image\ttext\tscore (a, b, c)\na.jpg\tt\t1\n")
    assert read(folder / "x.tsv") == [("t", {"score (a, b, c)": "1"})]


@pytest.mark.parametrize(
    "line", ["images/a.jpg,first", "a.jpg\tfirst", "A caption\thttps://h/a.jpg", "https://h/img.php?a,A caption"]
)
def test_a_table_without_names_of_columns_does_not_lose_its_first_row(folder: Path, line: str) -> None:
    (folder / "t.csv").write_text(f"{line}\nb.jpg,second\n")
    assert CsvSource().recognises(f"{line}\n".encode())
    with pytest.raises(
        SourceError, match=r"its first line is a row, since it has .*: put a line before it with the names"
    ):
        CsvSource().survey(folder / "t.csv")
    (folder / "t.csv").write_text("image.jpg,text\na.jpg,t\n")
    assert CsvSource().survey(folder / "t.csv")[0] == 1
    (folder / "t.csv").write_text("image,text,http://purl.org/dc/terms/title\na.jpg,t,T\n")
    assert read(folder / "t.csv") == [("t", {"http://purl.org/dc/terms/title": "T"})]


def test_line_ends_of_old_macs_are_said(folder: Path) -> None:
    path = folder / "mac.csv"
    path.write_bytes(b"file_name,text\ra.jpg,hi\r")
    assert CsvSource().recognises(path.read_bytes())
    with pytest.raises(SourceError, match="its lines end in CR alone, as on Macs of old: write LF or CR LF"):
        CsvSource().survey(path)
    path.write_bytes(b'file_name,text\na.jpg,"a\rb"\n')
    assert read(path) == [("a\rb", {})]


def test_places_of_records() -> None:
    data = b'image,b\na,"1\n2"\nb,\n"",""\n'
    found = list(find_records(io.BytesIO(data), 0))
    assert found == [(8, b'a,"1\n2"\n'), (16, b"b,\n"), (19, b'"",""\n')]
    assert list(find_records(io.BytesIO(data), 16)) == found[1:]


def test_the_limit_of_other_readers_of_csv_is_not_lowered(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('file_name,text\na.png,"' + "long " * 40_000 + '"\nb.png,short\n')
    before = csv.field_size_limit(100_000)
    try:
        assert len(read(tmp_path / "a.csv")) == 2
        assert csv.field_size_limit() > 200_000
    finally:
        csv.field_size_limit(before)
