import pytest

from wdstream.errors import SourceError
from wdstream.raw.texts.formats import read_markup
from wdstream.raw.texts.tree import decode_text, number, share

LINE = "<Layout><Page><PrintSpace><TextBlock><TextLine>{}</TextLine></TextBlock></PrintSpace></Page></Layout>"
LAUGHS = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10 if n else "lol"}">' for n in range(10))
EXTERNAL = '<!ENTITY x SYSTEM "file:///etc/passwd">'


def alto(content: str, before: str = "") -> bytes:
    return f'<?xml version="1.0"?>{before}<alto>{LINE.format(content)}</alto>'.encode()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (alto('<String CONTENT="&l9;"/>', f"<!DOCTYPE alto [{LAUGHS}]>"), "it declares entities of its own"),
        (alto('<String CONTENT="&x;"/>', f"<!DOCTYPE alto [{EXTERNAL}]>"), "it declares entities of its own"),
        (alto("&x;", f"<!DOCTYPE alto [{EXTERNAL}]>").decode().encode("utf-16"), "it declares entities of its own"),
        (alto('<String CONTENT="&undeclared;"/>'), "XML cannot be read: Entity 'undeclared' not defined"),
        (
            alto("&nbsp;", '<!DOCTYPE alto SYSTEM "http://localhost:1/x.dtd">'),
            "XML uses entities that it does not declare",
        ),
        (alto(f'<String CONTENT="{"x" * 11_000_000}"/>'), "XML cannot be read: Resource limit exceeded"),
        (alto("<a>" * 300 + "</a>" * 300), "XML cannot be read: Excessive depth in document"),
        (alto('<String CONTENT="one"/>')[:-20], "XML cannot be read: "),
        (alto('<String CONTENT="&#1;"/>'), "XML cannot be read: .*invalid xmlChar value 1"),
        (alto('<String CONTENT="a\x07b"/>'), "XML cannot be read: "),
        (alto('<String CONTENT="K\xe4se"/>').decode().encode("latin-1"), "XML cannot be read: "),
        (alto("x").replace(b"?>", b' encoding="no-such"?>', 1), "XML cannot be read: "),
        (b"", "it has no root element at its beginning"),
        (b"\x89PNG\r\n\x1a\n", "it has no root element at its beginning"),
        (b"<mets:mets xmlns:mets='http://www.loc.gov/METS/'/>", "is neither ALTO nor PAGE nor hOCR: it has mets"),
        (b"<dc><title>A book</title></dc>", "it has a root element dc"),
        (
            b"<alto xmlns='http://schema.primaresearch.org/PAGE/gts/pagecontent/2019-07-15'/>",
            "a root element alto of the",
        ),
        (b"<PcGts xmlns='http://www.loc.gov/standards/alto/ns-v4#'><Page/></PcGts>", "a root element PcGts of the"),
        (b"<alto xmlns='http://www.loc.gov/standards/alto/ns-v4#'><x:Layout xmlns:x='urn:x'/></alto>", "holds no page"),
        (b"<alto/>", "holds no page, though its root element is alto"),
        (b"<html>" + b"<div class='ocr_page'>" * 5000 + b"</html>", "HTML cannot be read: Excessive depth"),
    ],
)
def test_hostile_and_damaged_files(data: bytes, reason: str) -> None:
    with pytest.raises(SourceError, match=reason) as caught:
        read_markup(data)
    assert len(str(caught.value)) < 400
    assert str(caught.value).isprintable()


def test_a_file_in_other_encodings_than_utf8() -> None:
    text = '<?xml version="1.0" encoding="{}"?><alto>' + LINE.format('<String CONTENT="Käse ſein"/>') + "</alto>"
    for encoding in ("utf-8", "utf-16", "utf-8-sig"):
        name = encoding.removesuffix("-sig")
        assert read_markup(text.format(name).encode(encoding))[0].text == "Käse ſein"
    latin = text.format("ISO-8859-1").replace("ſ", "s")
    assert read_markup(latin.encode("latin-1"))[0].text == "Käse sein"


def test_comments_instructions_and_sections_are_no_text() -> None:
    page = "<Page><TextRegion><TextLine><TextEquiv><Unicode>a<!-- no -->b<?no?><![CDATA[<c>]]></Unicode></TextEquiv>"
    data = f"<!-- <x> --><?x y?><PcGts>{page}</TextLine></TextRegion></Page></PcGts>"
    assert read_markup(data.encode())[0].text == "ab<c>"


@pytest.mark.parametrize(
    ("text", "value"),
    [("1", 1.0), (" -2.5 ", -2.5), ("1e3", 1000.0), ("1e999", None), ("nan", None), ("inf", None), ("", None)],
)
def test_numbers(text: str, value: float | None) -> None:
    assert number(text) == value


def test_shares() -> None:
    assert (share("0.5"), share("90", 100.0), share("1.5"), share("-1"), share(None)) == (0.5, 0.9, None, None, None)


def test_a_space_before_the_declaration_and_utf8_that_says_it_is_utf16() -> None:
    data = alto('<String CONTENT="Käse"/>').lstrip()
    assert read_markup(b"\r\n " + data)[0].text == "Käse"
    assert read_markup(data.replace(b"?>", b' encoding="utf-16"?>', 1))[0].text == "Käse"


def test_an_entity_in_an_attribute_that_only_a_dtd_could_declare_is_not_lost() -> None:
    data = alto('<String CONTENT="a&nbsp;b"/>', '<!DOCTYPE alto SYSTEM "http://localhost:1/x.dtd">')
    with pytest.raises(SourceError, match="entities that it does not declare"):
        read_markup(data)
    assert read_markup(data.replace(b"&nbsp;", b"&#160;&amp;"))[0].text == "a &b"


@pytest.mark.parametrize("name", ["punycode", "idna", "undefined", "unicode_escape", "rot13", "hex", "no-such"])
def test_no_charset_of_files(name: str) -> None:
    with pytest.raises(SourceError, match=f"text is not {name}, as it should be"):
        decode_text(f'<meta charset="{name}">'.encode() + b"a" * 70 + b"-\xff")
