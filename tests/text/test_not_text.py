"""Boxes, places and pointers in place of the text of a page, and texts that look like them."""

import pytest

from wdstream.text.not_text import other_than_text

SROIE = "72,25,326,25,326,64,72,64,TAN WOON YANN\r\n50,82,440,82,440,121,50,121,BOOK TA .K(TAMAN DAYA) SDN BND\r\n"
ICDAR = "\ufeff377,117,463,117,465,130,378,130,Genaxis Theatre\r\n374,155,409,155,409,170,374,170,###\r\n"
YOLO = "0 0.481719 0.634028 0.690625 0.713278\n45 0.736516 0.247188 0.498875 0.476417\n"
POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"


EDGES = ['38, 43, 920, 215, "Tiredness"\n275, 264, 665, 450, "kills"\n', '158 128 411 181 "Footpath"\n']
YOLO_OTHERS = [
    "0 0.4817 0.6340 0.6906 0.7133\n0 0.2817 0.3340 0.1906 0.2133\n",  # four digits
    "0 0.481719 0.634028 0.690625 0.713278 0.93\n",  # and how sure it is
    "0 0.1123411 0.1123444 0.9123444 0.1123455 0.9123444 0.8123444 0.1123444 0.8123444\n",  # turned
    "2 0.512345 0.112345 0.612345 0.212345 0.592345 0.402345 0.482345 0.452345 0.402345 0.302345\n",  # a polygon
]


SPACED = [
    '390 902 1856 902 1856 1225 390 1225 0 "x"\n',
    "1 2 30 2 30 40 1 40 plane 0\n5 2 30 2 30 40 5 40 small-car 1\n",
]
"""RCTW, DOTA."""


@pytest.mark.parametrize("text", [SROIE, ICDAR, YOLO, *EDGES, *YOLO_OTHERS, *SPACED])
def test_boxes_are_no_text(text: str) -> None:
    what = "has a box in numbers on each line, not the text of a page: write the words alone, in reading order"
    assert other_than_text(text.encode()) == what


@pytest.mark.parametrize(
    "text",
    [
        "",
        "12",
        "1,2,3,4,5,6,7,8,9",  # a line of a table
        "1,1,2,3,5,8,13,21,34,55",  # each turns as the one before
        "2, 3, 5, 7, 11, 13, 17, 19, 23",
        "1 0.00000 1.00000 0.00000 0.00000\n2 1.00000 0.00000 0.00000 0.00000",  # no box has no size
        "72,25,326,25,326,64,72,64,TOTAL\nand a line of text",
        "1 0.5 0.5 0.2 0.2",
        "1 0.95000 0.50000 0.20000 0.20000",  # a box that leaves the picture is none
        "1 0.12345 0.12345 0.98765 0.98765\n2 0.48172 0.63403 0.69063 0.71328",
        "-3,5",
        "A\nB\nC\n",
        "1 0.1234 0.2234 0.1234 0.1234\n2 0.1234 0.2234 0.1234 0.1234\n",  # numbered rows
        "1 0.123456 0.234567 0.345678 0.456789 0.567890 0.678901",
        "0 0.912345 0.112345 0.212345 0.812345 0.792345 0.102345 0.182345 0.952345 0.902345 0.902345\n",
        '1, 2, 3, 4, "five"',
        '3, 4, 8, 9, "a" and b',
        '5.1 3.5 1.4 0.2 "setosa"\n4.9 3.0 1.4 0.2 "setosa"',
        '1 21.0 6 160 "Mazda"',
        "10 20 30 40 Hello\n50 60 70 80 World\n",
        '1914, 1918, 1939, 1945, "wars"',  # numbers that go up
        '3, 9, 17, 28, "Tuesday"\n1, 5, 12, 33, "Friday"',
        "0,0,1,0,1,1,0,1,unit square",
        "-1,-1,1,-1,1,1,-1,1,square",
        "0 0.25000 0.25000 0.25000 0.25000\n1 0.30000 0.40000 0.10000 0.20000",  # what adds up to one is probable
        "0 0.20000 0.20000 0.20000 0.20000 0.20000",
        "0 0.3333 0.3333 0.3333 0.0001\n0 0.2500 0.2500 0.4000 0.1000",
        "0 0.50000 0.50399 0.50798 0.51197 0.51595 0.51994 0.52392 0.52790 0.53188 0.53586\n"
        "1 0.84134 0.84375 0.84614 0.84849 0.85083 0.85314 0.85543 0.85769 0.85993 0.86214",  # the normal distribution
        "10 0.10012 0.20012 0.30012 0.40012 0.50012 0.60012 0.70012 0.80012 0.90012 0.99912",
        "1 1.00000 0.50000 0.30000 0.20000 0.50000 1.00000 0.12345 0.23456 0.30000 0.12345",
        "1" * 5000 + " 0.5 0.5 0.2 0.2",
        "10 20 30 20 30 40 10 40 is no box",
    ],
)
def test_numbers_are_texts(text: str) -> None:
    assert other_than_text(text.encode()) is None


PLACES = [
    "The\t118\t104\t143\t117\t0\t0\t0\tCMR10\tparagraph\n##LTFigure##\t1\t2\t3\t4\t0\t0\t0\tdefault\tfigure\n",
    '[{"transcription": "Hello", "points": [[1, 2], [3, 4], [5, 6], [7, 8]], "difficult": false}]',
    "[{'transcription': 'x', 'points': [[1, 2], [3, 4]]}]",
    "[[[24.0, 36.0], [304.0, 34.0]], ('Hello', 0.9964)]\n[[[24.0, 36.0], [4.0, 3.0]], ('it (s)', 0.9)]\n",
    '{"type": "text", "bbox": [1, 2, 3, 4], "res": []}\n{"type": "text", "bbox": [1, 2, 3, 4], "res": []}',
    '(page 0 0 2550 3300\n (line 100 200 300 400 "Hello"))\n',
    "x: [[115 503 494 115]], y: [[322 346 426 404]], ornt: [u'm'], transcriptions: [u'nauGHTY']\n",
    "208,115,320,200,220,110,210,100,####Hello\n1,2,3,4,5,6,####you\n",
    "<?xml version='1.0'?>\n<!-- x --><alto xmlns='x'><Layout/></alto>",
    "<annotation><object><bndbox><xmin>1</xmin></bndbox></object></annotation>",
    "<!DOCTYPE html><html><body><div class='ocr_page' id='p'></div></body></html>",
    "level\tpage_num\tblock_num\tpar_num\tline_num\n1\t1\t0\t0\t0\n",
    '{"shapes": [{"label": "a", "points": [[1, 2], [3, 4]], "shape_type": "rectangle"}], "imagePath": "a.png"}',
    '[{"left": 1, "top": 2, "width": 3, "height": 4, "text": "a"}]',
    "([[1, 2], [3, 2], [3, 4], [1, 4]], 'hi', 0.99)\n([[1, 2], [3, 2], [3, 4], [1, 4]], 'ho', 1.0)\n",
    "[([[1, 2], [3, 2], [3, 4], [1, 4]], 'hi', 0.99), ([[1, 2], [3, 2], [3, 4], [1, 4]], 'ho', 1e-05)]",
    '{"pages": [{"words": [{"content": "a", "polygon": [1, 2, 9, 2, 9, 8, 1, 8]}]}]}',
    '{"textAnnotations": [{"description": "a", "boundingPoly": {"vertices": [{"x": 1, "y": 2}, {"x": 9, "y": 2}, '
    '{"x": 9, "y": 8}]}}]}',
    '{"form": [{"box": [84, 109, 136, 119], "text": "COMPOUND", "id": 0}]}',
]
"""DocBank, PPOCRLabel, PaddleOCR twice, PP-Structure, djvused, Total-Text, CTW1500, XML and tesseract's table by the
name of a text; labelme, OCR of PDFs, EasyOCR twice, Azure, Google, FUNSD."""


@pytest.mark.parametrize("text", PLACES)
def test_words_with_their_places_are_no_text(text: str) -> None:
    what = (
        "has places in numbers next to its words, and is not the text of a page: write the words alone, in order "
        "(where a model shall write the places, too: image and text in a row of a .jsonl)"
    )
    assert other_than_text(text.encode()) == what


@pytest.mark.parametrize(
    "text",
    [
        '{"menu": [{"nm": "box", "price": "1,000"}]}',
        '[1] A. Author, "Boxes", 2020.\n[2] B.',
        'const a = {"bbox": [1, 2]};',
        '{"bbox": [1, 2, 3, 4], the keys',
        '# JSON\n{"bbox": [1, 2, 3, 4]}',
        "[[1, 2], [3, 4]]",
        "(page 3 of 4)",
        "(a) The page 0 0 1 2",
        "x: 1, y: 2",
        "([[1, 2], [3, 4]], 'two rows')",
        "<html><body>hi</body></html>",
        "<?xml version='1.0'?><note><to>x</to></note>",
        "a\tb\tc\n1\t2\t3\n",
        "Name\t1\t2\t3\t4\t5\t6\t7\tFont\tTotal\n",
        "The\t118\t104\t143\t117\t0\t0\t0\tCMR10\tparagraph\nand a line of text",
        "1\t2\t3\t4\t5\t6\t7\t8\tx\ty",
        "<html><body><p class='ocr_line'>hi</p></body></html>",
        "<annotation>hi</annotation>",
        "#### A title\n1,2,3,4,#### no",
        '{"title": "Sales", "series": [{"name": "a", "points": [12, 15, 18]}]}',  # charts
        '{"series": [{"label": "a", "points": [[1, 2], [3, 4.5]]}]}',
        '{"title": "A box plot", "label": "a", "box": [1, 2, 3, 4, 5]}',
        '{"description": "Swiss map", "bbox": [5.9, 45.8, 10.5, 47.8], "features": []}',
        '{"text": "Bern", "bbox": [7.294, 46.919, 7.495, 46.990]}',
        '{"graph": "K4", "vertices": [1, 2, 3, 4], "edges": [[1, 2]]}',
        '{"polygon": [[0, 0], [4, 0], [4, 3]], "area": 6}',
        '{"poly": [1, -3, 2, 4, 5, 6]}',
        "{'poly': [1, 2, 1]}",
        '{"team": "A", "points": [3, 1, 0]}',
        '{"a": 1, "points": [1]}\n{"a": 2, "points": [2]}',
        '{"swagger": "2.0", "example": {"bbox": [1, 2, 3, 4]}}',
        '{"gt_parse": {"menu": [{"nm": "A"}]}}',
        '[{"bbox_2d": [1, 2, 3, 4], "label": "cat"}]',
        "<h1>VOC</h1><p>The box is in <bndbox> of the file</p>",
        "<p>pages of hOCR have class='ocr_page'</p>",
        '{"box": [0, 1, 0, 1], ' * 5000,
        '{"text": "a", "bbox": ' + "[" * 5000,
    ],
)
def test_what_looks_like_places_is_text(text: str) -> None:
    assert other_than_text(text.encode()) is None


@pytest.mark.parametrize("codec", ["utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("text", ["hello", "Привет мир", "Γειά σου", "नमस्ते दुनिया", "שלום עולם", "สวัสดี"])
def test_utf_16_is_no_text_where_its_bytes_are_utf_8(text: str, codec: str) -> None:
    assert other_than_text(text.encode(codec)) == "is UTF-16, or no text: write it as UTF-8"
    assert other_than_text(text.encode()) is None


def test_a_pointer_of_git_lfs_is_no_text() -> None:
    what = "is a pointer of Git LFS, not the file itself: fetch it with `git lfs pull`"
    assert other_than_text(POINTER.encode()) == what
    assert other_than_text(POINTER.encode() + b"is what such a file has.\n" * 50) is None


def test_nuls_at_the_end_of_a_text_of_a_fixed_length_say_nothing() -> None:
    assert other_than_text(b"a text".ljust(64, b"\0")) is None
    assert other_than_text(b"a\0\1t".ljust(64, b"\0")) is not None
