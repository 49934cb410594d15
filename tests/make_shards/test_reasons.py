"""What the report says of reasons: counted by kind, one of each in full, and what helps."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from tests.helpers.mixed_shards import small_image
from wdstream.errors import ConfigError
from wdstream.make_shards import MakeShardsOptions, make_shards
from wdstream.make_shards.jobs import Quarantined
from wdstream.make_shards.reasons import examples_of, help_for_ignored, kind_of_reason


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


POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"
FETCH = "is a pointer of Git LFS, not the file itself: fetch it with `git lfs pull`"


def reasons_of(raw: Path) -> dict[str, str]:
    report = make_shards(raw, raw.parent / "out", options=MakeShardsOptions(workers=1))
    return {entry.file: entry.reason for entry in report.quarantined}


def test_pointers_of_git_lfs_are_named_whatever_they_stand_for(tmp_path: Path) -> None:
    """A clone without `git lfs pull`. A text was trained on, rows were one fault per line, a table was passed over."""
    raw = tmp_path / "raw"
    raw.mkdir()
    for name in ("a.png", "b.txt", "c.md", "rows.jsonl", "table.csv", "coco.json", "d.tar", "e.tar.gz", "f.pdf"):
        (raw / name).write_text(POINTER)
    for name in ("b.png", "c.png"):
        (raw / name).write_bytes(small_image(1, "png"))
    (raw / "a.txt").write_text("a text")
    assert reasons_of(raw) == {
        "a.png": f"image {FETCH}",
        "b.png": f"b.txt {FETCH}",
        "c.png": f"text {FETCH}; in the text file c.md",
        **dict.fromkeys(("coco.json", "d.tar", "e.tar.gz", "f.pdf", "rows.jsonl", "table.csv"), f"file {FETCH}"),
    }


def test_what_is_next_to_images_and_is_no_text(tmp_path: Path) -> None:
    """Boxes of SROIE and YOLO, and UTF-16 without a mark, of which `@825B` was trained on."""
    raw = tmp_path / "raw"
    raw.mkdir()
    texts = {
        "X00": b"72,25,326,25,326,64,72,64,TAN WOON YANN\r\n50,82,440,82,440,121,50,121,BOOK TA .K\r\n",
        "a": b"0 0.481719 0.634028 0.690625 0.713278\n",
        "b": "Привет".encode("utf-16-le"),
        "c": b"72,25,326 and a text",
    }
    for name, text in texts.items():
        (raw / f"{name}.txt").write_bytes(text)
        (raw / f"{name}.png").write_bytes(small_image(1, "png"))
    boxes = "has a box in numbers on each line, not the text of a page: write the words alone, in reading order"
    assert reasons_of(raw) == {
        "X00.png": f"X00.txt {boxes}",
        "a.png": f"a.txt {boxes}",
        "b.png": "b.txt is UTF-16, or no text: write it as UTF-8",
    }


def test_a_row_whose_image_is_named_without_its_suffix_says_the_map(tmp_path: Path) -> None:
    """TextVQA's own file: the reason named six other fields, and not the one that is its image."""
    raw = tmp_path / "raw"
    (raw / "train_images").mkdir(parents=True)
    (raw / "train_images/0054c9.png").write_bytes(small_image(1, "png"))
    fields = '"image_classes": ["Cello"], "image_width": 1024, "flickr_original_url": "https://a.b/1.jpg"'
    row = f'{{"question": "Which?", "image_id": "0054c9", {fields}, "answers": ["a"]}}'
    (raw / "train.json").write_text(f'{{"data": [{row}]}}')
    assert reasons_of(raw)["train.json"] == (
        "field 'image_id' has '0054c9', the name of an image file near the rows but for the suffix, and the row has no "
        "image: say that it is its image with --map image=image_id (and where it is, with --image-folder), or metadata "
        "with --metadata-field image_id"
    )


def test_what_helps_with_formats_that_are_not_read() -> None:
    """Each was only counted: `ignored: 2 .mds`."""
    formats = ".7z .heic .jpg .md .tfrecord-00000-of-00001 .tsv .zip .␛[2j"
    advice = (
        "write its samples as tars, parquet or JSONL with the library that wrote it, or read it by a function of yours"
    )
    assert list(help_for_ignored(dict.fromkeys(formats.split(), 1))) == [
        ".7z, .zip: unpack it, or write what is in it as tars",
        f".tfrecord: {advice} (--source SUFFIX=MODULE:FUNCTION)",
        ".heic: convert it to PNG or JPEG",
        ".tsv: its first line names no column of images: call that column image; --image-folder says where they are",
    ]


@pytest.mark.parametrize(
    ("ignored", "piece"),
    [(".aa .ab", ".aa"), (".001 .002", ".001"), (".md .part-aa", ".part-aa"), (".py .z01", ".z01")],
)
def test_pieces_of_a_file_are_named(ignored: str, piece: str) -> None:
    assert list(help_for_ignored(dict.fromkeys(ignored.split(), 1))) == [
        f"{piece}: join the pieces of a file first, in order (cat NAME.* > NAME)"
    ]
    assert list(help_for_ignored(dict.fromkeys((".md", ".py", ".1", ".ab"), 1))) == []


def test_a_folder_of_another_format_is_named_with_what_to_do(tmp_path: Path) -> None:
    """FUNSD's annotations, and an archive, with images next to them and without."""
    raw = tmp_path / "raw"
    (raw / "annotations").mkdir(parents=True)
    (raw / "annotations" / "0.json").write_text('{"form": [{"text": "TO:", "box": [1, 2, 3, 4]}]}')
    (raw / "images.zip").write_bytes(b"PK")
    with pytest.raises(ConfigError, match=r"found 1 \.json, 1 \.zip; \.zip: unpack it, .*; \.json: it holds no rows"):
        reasons_of(raw)
    (raw / "0.png").write_bytes(small_image(1, "png"))
    report = make_shards(raw, tmp_path / "out", options=MakeShardsOptions(workers=1, keep_empty=True))
    console = Console(file=io.StringIO(), width=200)
    report.print(console)
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert "ignored: 1 .json, 1 .zip\n.zip: unpack it, or write what is in it as tars\n.json: it holds no rows" in shown


def test_a_folder_of_links_that_lead_out_is_named_as_one(tmp_path: Path) -> None:
    """A snapshot of Hugging Face's cache: `found no files`. With the option, images of its rows are read."""
    raw = tmp_path / "snapshots" / "1"
    raw.mkdir(parents=True)
    (tmp_path / "blob1").write_bytes(small_image(1, "png"))
    (tmp_path / "blob2").write_text('{"file_name": "a.png", "text": "t"}\n')
    (raw / "a.png").symlink_to("../../blob1")
    (raw / "metadata.jsonl").symlink_to("../../blob2")
    with pytest.raises(
        ConfigError, match=r"found no files; a.png is a link that leads out .*-links, .*, and 1 more \("
    ):
        reasons_of(raw)
    report = make_shards(raw, tmp_path / "out", options=MakeShardsOptions(workers=1, allow_outside_links=True))
    assert (report.num_pages, report.num_quarantined) == (1, 0)
