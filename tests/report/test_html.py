"""The HTML of a pack: well-formed, complete in itself, nothing on a page is more than text, pictures are the tiles."""

import base64
import io
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from wdstream.errors import ConfigError
from wdstream.report.html import data_uri, render_html, tile_previews, tile_rows, write_html
from wdstream.report.view import DocumentView, PackView

VOID = {"meta", "img", "input"}
Attributes = list[tuple[str, str | None]]


class Reader(HTMLParser):
    """Elements in order, text by the class of its element; complains about what is not closed in its order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[tuple[str, str]] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: Attributes) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append((tag, str(dict(attrs).get("class", ""))))

    def handle_startendtag(self, tag: str, attrs: Attributes) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop()[0] == tag

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.texts.append((self.open[-1][1], data))


@pytest.fixture(scope="module")
def page(view: PackView) -> Reader:
    return Reader(render_html(view))


def test_nothing_can_run_and_nothing_is_fetched(page: Reader) -> None:
    assert {tag for tag, _ in page.elements} == {
        *("html", "head", "meta", "title", "style", "body", "main", "header", "section", "div", "p", "h1", "h2", "h3"),
        *("ul", "li", "span", "b", "i", "code", "svg", "rect", "a", "figure", "figcaption", "label", "input", "img"),
    }
    policy = [attrs["content"] for tag, attrs in page.elements if attrs.get("http-equiv")]
    assert policy == ["default-src 'none'; img-src data:; style-src 'unsafe-inline'"]
    for _, attrs in page.elements:
        assert not [name for name in attrs if name.startswith("on")]
        assert str(attrs.get("href", "#")).startswith("#")
        assert str(attrs.get("src", "data:image/")).startswith("data:image/")


def test_hostile_text_is_text(page: Reader, view: PackView) -> None:
    text = [data for name, data in page.texts if name == "text supervised"]
    assert any("</div><script>alert(1)</script>" in data for data in text)
    assert any("<U+202E>{{ 7 * 7 }} [red]not markup[/]" in data for data in text)
    hostile = "</title><script>alert(3)</script>\x00"
    renamed = replace(view.documents[0], key=hostile, dataset=hostile, failure=hostile, shard=hostile)
    assert not [tag for tag, _ in Reader(render_html(replace(view, documents=(renamed,)))).elements if tag == "script"]


def test_text_has_its_own_direction(page: Reader) -> None:
    texts = [attrs for tag, attrs in page.elements if str(attrs.get("class")).startswith("text ")]
    assert len(texts) == 12
    assert all(attrs["dir"] == "auto" for attrs in texts)


def test_head_and_documents(page: Reader) -> None:
    words = " ".join(" ".join(data for _, data in page.texts).split())
    assert "Step 0, pack 0 the only pack of its step, number 0 of the run runs/[bold]&<b>.yaml , model" in words
    assert "tokens 1,121 of 4,096, 27.3 % patches 1,160 of 8,192, 14.1 %" in words
    assert "412 supervised text and its end 288 image block stands for pixels" in words
    assert "rows@000001 tokens 970:1121 (151, 9 supervised), 232 patches; shard-000000.tar row 5 of shards" in words
    assert "970:971 1 L first token 971:974 3 ook: supervised 974:983 9 <global_img> tile label" in words
    assert words.count("failed page") == 1 + 16
    assert "row 2: checksum" in words


def test_the_strip_shows_every_run(page: Reader, view: PackView) -> None:
    rects = [attrs for tag, attrs in page.elements if tag == "rect" and attrs["class"] != "edge"]
    spans = [(int(str(attrs["x"])), int(str(attrs["width"]))) for attrs in rects]
    assert spans[:82] == [(span.begin, span.num_tokens) for document in view.documents for span in document.spans]


def test_pictures_are_the_tiles_as_the_model_sees_them(page: Reader, view: PackView) -> None:
    sources = [str(attrs["src"]) for tag, attrs in page.elements if tag == "img"]
    assert len(sources) == view.num_tiles == 35
    document = view.documents[3]
    tile = document.tiles[1]
    (expected,) = tile_previews(tile.pixels, view.family)
    place = sum(len(document.tiles) for document in view.documents[:3]) + 1
    np.testing.assert_array_equal(decoded(sources[place]), expected)


def decoded(uri: str) -> np.ndarray:
    head, _, data = uri.partition(",")
    assert head == "data:image/png;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB"))


def test_a_picture_is_jpeg_where_png_is_more_than_twice_as_large() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    assert data_uri(noise).startswith("data:image/jpeg;base64,")
    assert data_uri(np.zeros((64, 64, 3), dtype=np.uint8)).startswith("data:image/png;base64,")


def test_tiles_are_as_on_the_page(documents: dict[str, DocumentView]) -> None:
    (image,) = documents["images/tesseract-phototest-rotated-L"].images
    assert [[tile.label for tile in row] for row in tile_rows(image)] == [
        ["<row0_col0>", "<row0_col1>"],
        ["<row1_col0>", "<row1_col1>"],
        ["<row2_col0>", "<row2_col1>"],
    ]
    turned = replace(image, tiles=(image.tiles[0], *reversed(image.tiles[1:])))
    assert tile_rows(turned) == tile_rows(image)


def test_long_texts_and_many_tiles_are_folded(view: PackView, documents: dict[str, DocumentView]) -> None:
    document = documents["images/tesseract-phototest-rotated-L"]
    text = replace(document.spans[14], text="word " * 400)
    long = replace(view, documents=(replace(document, spans=(*document.spans[:14] * 2, text, document.spans[15])),))
    folded, opened = Reader(render_html(long)), Reader(render_html(long, full=True))
    for page, is_open in ((folded, False), (opened, True)):
        details = [attrs for tag, attrs in page.elements if tag == "details"]
        assert [("open" in attrs, attrs["class"]) for attrs in details] == [(is_open, "fold"), (is_open, "more")]
        assert sum(data.count("word") for _, data in page.texts) == 400
        summaries = [" ".join(data.split()) for _, data in page.texts if " more " in data and ":root" not in data]
        assert summaries == ["6 more tiles and their labels, 120 tokens", "1,050 more characters"]


def test_an_empty_pack(view: PackView) -> None:
    words = " ".join(data for _, data in Reader(render_html(replace(view, documents=()))).texts)
    assert "it fills up the last step of the run" in words


def test_the_file_is_written_whole(view: PackView, tmp_path: Path) -> None:
    write_html(view, tmp_path / "pack.html")
    assert (tmp_path / "pack.html").read_text(encoding="utf-8") == render_html(view)
    assert [path.name for path in tmp_path.iterdir()] == ["pack.html"]
    with pytest.raises(ConfigError, match=r"--html .*none/pack\.html: cannot be written \(No such file or directory\)"):
        write_html(view, tmp_path / "none" / "pack.html")
