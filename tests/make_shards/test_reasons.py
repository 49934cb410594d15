"""What the report says of reasons: counted by kind, one of each in full, and what helps."""

from wdstream.make_shards.jobs import Quarantined
from wdstream.make_shards.reasons import examples_of, kind_of_reason


def test_kinds_leave_out_numbers_names_and_details() -> None:
    assert kind_of_reason("image 'a.png' does not exist (relative to the folder of the JSONL file)") == (
        "image ... does not exist"
    )
    assert kind_of_reason("row '007': text file holds 1 pages, two.pdf has 2: two.md") == (
        "text file holds N pages, two.pdf has N"
    )
    assert kind_of_reason("lost twice, the last time alone: it crashed: 11") == "lost again when read alone: it crashed"


def test_one_of_each_kind_is_shown_with_what_helps() -> None:
    entries = [
        Quarantined(file="a.jsonl", page=3, reason="image 'x.png' does not exist (relative to the folder)"),
        Quarantined(file="a.jsonl", page=4, reason="image 'y.png' does not exist (relative to the folder)"),
        Quarantined(file="b\x1b.png", page=0, reason="no text: no text file beside it"),
        Quarantined(file="c.png", page=0, reason="whole reason"),
    ]
    assert list(examples_of(entries)) == [
        "such as a.jsonl:3: image 'x.png' does not exist (relative to the folder)",
        "such as b␛.png: no text: no text file beside it",
        "what helps where pages have no text: --ocr tesseract or rapidocr reads their pictures, --text-from FOLDER/ "
        "takes texts from a folder, --keep-empty keeps pages without",
    ]
    assert list(examples_of([])) == []
