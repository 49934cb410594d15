"""Reasons of what is quarantined, as a report has them: counted by kind, and one of each in full, with what helps; and
what helps with files of formats that are not read.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice

from wdstream.make_shards.jobs import Quarantined
from wdstream.raw.registry import known_suffixes
from wdstream.text.characters import short_name
from wdstream.text.image_names import IMAGE_SUFFIXES

_REASON_END = re.compile(r"[:;(]")
_SAMPLE = re.compile(r"\A(?:(?:chat )?(?:sample|row|page)) '.*?':? ", re.DOTALL)
_QUOTED = re.compile(r"'[^']*'")
_LOST = re.compile(r"lost (twice|\d+ times), the last time alone: ")
_NUMBER = re.compile(r"\d[\d.,%x]*")
_MOST_EXAMPLES = 5
_LONGEST = 400
_NO_TEXT = "no text"
_NO_TEXT_HELPS = (
    "what helps where pages have no text: --ocr tesseract or rapidocr reads their pictures, --text-from FOLDER/ takes "
    "texts from a folder, --keep-empty keeps pages without"
)
_OTHER_FORMATS: tuple[tuple[str, str], ...] = (
    (".zip .7z .rar .cbz .cbr", "unpack it, or write what is in it as tars"),
    (
        ".gz .bz2 .xz .zst .zstd .lz4 .br .lzma .z",
        "unpack it: compressed, only rows in JSON (.jsonl.gz), tars (.tar.gz) and .pdf.gz are read",
    ),
    (
        ".mds .tfrecord .tfrecords .tfrec .mdb .lmdb .h5 .hdf5 .npz .npy .pkl .pickle .pt .lance .beton .rec .bin "
        ".msgpack .avro .orc .sqlite .sqlite3 .mat",
        "write its samples as tars, parquet or JSONL with the library that wrote it, or read it by a function of yours "
        "(--source SUFFIX=MODULE:FUNCTION)",
    ),
    (".docx .doc .pptx .ppt .xlsx .xls .odt .odp .epub .rtf .ps .xps", "print it to PDF"),
    (".djvu .djv", "convert it to PDF"),
    (" ".join(f".{suffix}" for suffix in IMAGE_SUFFIXES), "convert it to PNG or JPEG"),
    (
        ".json",
        "it holds no rows (an array of objects, or one on each line); of annotations as COCO's or FUNSD's, write a row "
        "with the text of each image",
    ),
    (
        ".csv .tsv",
        "its first line names no column of images: call that column image; --image-folder says where they are",
    ),
    (".jsonlines .jl .ldjson", "where each line is an object, call it .jsonl"),
    (".mmd .tex .latex .rst .lab .gt", "where it is the text of an image, call it .txt or .md"),
)
"""What helps with files that are not read, by suffix."""
_OF_CONTENT = (".json", ".csv", ".tsv")
_PART = re.compile(r"(\.tf[a-z]+)-\d+-of-\d+")


_PIECE = re.compile(r"\.(?:\d{3}|z\d\d|part[-_.]?(?:\d+|[a-z]{2}))")
_FIRST_PIECE, _PIECE_OF_SPLIT = ".aa", re.compile(r"\.[a-z]{2}")


def help_for_ignored(ignored: Mapping[str, int]) -> Iterator[str]:
    """What helps with the suffixes of files that are not read, of which there are as many as `ignored` says."""
    plain = {_PART.sub(r"\1", suffix): None for suffix in ignored}
    left = [suffix for suffix in plain if suffix not in known_suffixes() or suffix in _OF_CONTENT]
    for suffixes, advice in _OTHER_FORMATS:
        found = [suffix for suffix in left if suffix in suffixes.split()]
        left = [suffix for suffix in left if suffix not in found]
        if found:
            yield f"{', '.join(found)}: {advice}"
    pieces = [suffix for suffix in left if _PIECE.fullmatch(suffix)]
    pieces += [suffix for suffix in left if _FIRST_PIECE in left and _PIECE_OF_SPLIT.fullmatch(suffix)]
    if pieces:
        yield f"{pieces[0]}: join the pieces of a file first, in order (cat NAME.* > NAME)"


def kind_of_reason(reason: str) -> str:
    """A reason without its numbers and details, to count by."""
    lost, text = _LOST.match(reason), reason
    if lost:
        text = text[lost.end() :]
    text = _SAMPLE.sub("", text, count=1)
    kind = _REASON_END.split(_NUMBER.sub("N", _QUOTED.sub("...", text)))[0].strip()
    return f"lost again when read alone: {kind}" if lost else kind


def examples_of(quarantined: Sequence[Quarantined]) -> Iterator[str]:
    """Of the first kinds, one reason in full with its place; and what helps where the reason does not say it."""
    first: dict[str, Quarantined] = {}
    for entry in quarantined:
        first.setdefault(kind_of_reason(entry.reason), entry)
    for entry in islice((entry for kind, entry in first.items() if kind != entry.reason), _MOST_EXAMPLES):
        where = f"{short_name(entry.file)}:{entry.page}" if entry.page else short_name(entry.file)
        yield f"such as {where}: {short_name(entry.reason, most=_LONGEST)}"
    if _NO_TEXT in first:
        yield _NO_TEXT_HELPS
