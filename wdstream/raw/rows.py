r"""JSONL rows: text with placeholders, or content lists, to segments and image paths.

    {"text": "see <image> and <image>", "images": ["a.png", "b.jpg"], "lang": "en"}
    {"content": [{"type": "image", "image": "a.png"}, {"type": "text", "text": "..."}]}
    {"content": [{"type": "image"}, {"type": "text", "text": "..."}], "images": ["a.png"]}

The text of a row is taken word for word; it is split here, once, and never searched again. A placeholder is `<image>`,
or the form of a model's processor:

    Qwen           `<|vision_start|>`, any `<|image_pad|>`s, `<|vision_end|>`, or an `<|image_pad|>` by itself
    Gemma 3        `<start_of_image>`, which its processor reads; its `<image_soft_token>` is what that becomes
    Gemma 4, GLM   `<|image|>`, with or without the marks of GLM around it

The form counts that occurs as often as there are images; of several that do, the first here. A row without the field
`images` is text only, whatever it says. A text of a content list that is not to be supervised carries
`"is_supervised": false`. A row with `messages` is a chat row (wdstream/text/messages.py), its images named in
`images` or in their blocks. All other fields become the row's metadata.

Lines of a large file are found by number: the survey notes where each thousandth starts, and readers seek to that mark.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO, NoReturn

from wdstream.errors import PageError, RowError, SourceError
from wdstream.raw.images import read_file, store_image
from wdstream.raw.settings import RawSettings
from wdstream.raw.source import PageRange, Source, StoredImage, StoredPage, require_text
from wdstream.records import ImageSegment, Page, Segment, TextSegment
from wdstream.text.characters import replace_surrogates
from wdstream.text.messages import ChatLoss, segments_from_content, segments_from_messages

_FORMS = {
    "<image>": "<image>",
    "<|image_pad|>": r"<\|vision_start\|>\s*(?:<\|image_pad\|>\s*)*<\|vision_end\|>|<\|image_pad\|>",
    "<start_of_image>": "<start_of_image>",
    "<|image|>": r"(?:<\|begin_of_image\|>)?<\|image\|>(?:<\|end_of_image\|>)?",
}
"""Placeholders by name -> pattern of all that stands for one image."""
MAX_LINE_BYTES = 256 << 20
_LINES_PER_MARK = 1000
_ESCAPED_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_OWN_FIELDS = frozenset({"text", "images", "content", "messages"})


class RowSource(Source):
    """JSONL files: a line is a row of text and the names of its images."""

    kind = "rows"
    suffixes = (".jsonl",)
    names_images = True

    def survey(self, path: Path) -> tuple[int, tuple[int, ...]]:
        """The number of lines, and marks to find them by."""
        return mark_lines(path)

    @contextmanager
    def open(self, pages: PageRange, path: Path, settings: RawSettings) -> Iterator["_RowReader"]:
        """Read the lines of the range one after the other."""
        yield _RowReader(pages, path, settings)


class _RowReader:
    """Rows as samples, with their images."""

    def __init__(self, pages: PageRange, path: Path, settings: RawSettings) -> None:
        self._file = pages.file
        self._folder = path.parent
        self._settings = settings
        self._lines = numbered_lines(path, pages.file.marks, pages.first, pages.count)

    def read(self, number: int) -> StoredPage | None:
        line = self._line(number)
        if line is None:
            raise RowError(f"line is above the limit of {MAX_LINE_BYTES} bytes")
        if not line.strip():
            return None
        row = parse_row(line, self._settings.placeholder, self._settings.chat_loss)
        text = "".join(segment.text for segment in row.segments if isinstance(segment, TextSegment))
        require_text(text, "the row holds none", self._settings)
        images = [self._image(name) for name in row.image_names]
        page = Page(
            key=self._file.page_key(number, digits=6),
            images=tuple(image.data for image in images),
            segments=row.segments,
            meta={"source": replace_surrogates(self._file.path), "line": number, **row.meta},
        )
        extensions, sizes = (tuple(image.extension for image in images), tuple(image.size for image in images))
        return StoredPage(page=page, extensions=extensions, sizes=sizes)

    def _line(self, number: int) -> bytes | None:
        try:
            return next(line for line_number, line in self._lines if line_number == number)
        except OSError as error:
            raise SourceError(f"file cannot be read: {error.strerror}") from error

    def _image(self, name: str) -> StoredImage:
        path = resolve_image(self._folder, name, allow_outside=self._settings.allow_outside_images)
        try:
            return store_image(read_file(path), self._settings)
        except PageError as error:
            raise RowError(f"image {name!r}: {error}") from error


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A row, its images not yet read.

    Attributes:
        segments: text and images in order; image i is `image_names[i]`.
        image_names: as the row names them.
        meta: all other fields.
    """

    segments: tuple[Segment, ...]
    image_names: tuple[str, ...]
    meta: Mapping[str, object]


def parse_row(line: bytes, placeholder: str | None = None, chat_loss: ChatLoss = "all") -> Row:
    """Parse one line.

    Args:
        line: UTF-8 JSON.
        placeholder: the only text that stands for an image; None takes the forms above.
        chat_loss: which turns of the assistant are supervised in chat rows that do not say so.

    Raises:
        RowError: it is no JSON object, has neither text nor content, or text and images do not belong together.
    """
    row = _parse_json(line)
    meta = {name: value for name, value in row.items() if name not in _OWN_FIELDS}
    if sum(field in row for field in ("text", "content", "messages")) != 1:
        fields = ", ".join(sorted(row)) or "no fields"
        raise RowError(f"expected text (with images), content or messages, one of them; found {fields}")
    names = _image_names(row)
    if "messages" in row:
        names = _chosen_names(_image_blocks(row["messages"]), names, "messages")
        segments = segments_from_messages(row["messages"], num_images=len(names), loss=chat_loss)
    elif "text" in row:
        text = row["text"]
        if not isinstance(text, str):
            raise RowError(f"text is {type(text).__name__}, a string expected")
        if row.get("images") is None:
            return Row(segments=(TextSegment(text=text),) if text else (), image_names=(), meta=meta)
        segments = split_text(text, len(names), placeholder)
    else:
        content = segments_from_content(row["content"])
        segments = tuple(segment for segment in content if not isinstance(segment, TextSegment) or segment.text)
        names = _chosen_names(_image_blocks([row]), names, "content")
    return Row(segments=segments, image_names=names, meta=meta)


def split_text(text: str, num_images: int, placeholder: str | None = None) -> tuple[Segment, ...]:
    """Split a text at its placeholders; the text between them stays as it is, empty pieces go.

    Raises:
        RowError: there are not as many placeholders as images.
    """
    forms = list(_FORMS) if placeholder is None else [placeholder]
    counts = []
    for form in forms:
        pieces = re.split(_FORMS.get(form, re.escape(form)), text)
        if len(pieces) - 1 == num_images > 0:
            return _join(pieces)
        counts.append(len(pieces) - 1)
    if num_images == 0 and not any(counts):
        return _join([text])
    occurrences = ", ".join(f"{count} of {form}" for count, form in zip(counts, forms, strict=True))
    raise RowError(f"{num_images} images, but the text has {occurrences}; each image needs one placeholder")


def resolve_image(folder: Path, name: str, *, allow_outside: bool = False) -> Path:
    """The file of a row's image.

    Args:
        folder: the folder of the JSONL file, which names are relative to.
        name: as the row has it.
        allow_outside: whether it may be outside the folder, or be reached by a link that leads outside.

    Raises:
        RowError: a URL, a path that leaves the folder, or no file.
    """
    if "://" in name or name.startswith("data:"):
        raise RowError(f"image {name[:80]!r} is a URL; fetch it first and give its path")
    if "\0" in name or not name:
        raise RowError(f"image {name[:80]!r} is not a file name")
    path = folder / name
    is_outside = PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts
    try:
        is_outside = is_outside or not path.resolve().is_relative_to(folder.resolve())
        is_file = path.is_file()
    except (OSError, RuntimeError, ValueError) as error:  # a loop of links, a name that is too long
        raise RowError(f"image {name[:80]!r} cannot be found: {type(error).__name__}") from error
    if is_outside and not allow_outside:
        raise RowError(f"image {name[:80]!r} leaves the folder of the JSONL file; allow it, or move the image")
    if not is_file:
        raise RowError(f"image {name[:80]!r} does not exist (relative to the folder of the JSONL file)")
    return path


def _parse_json(line: bytes) -> dict[str, object]:
    try:
        row: object = json.loads(line.decode("utf-8-sig"), parse_constant=_refuse_constant)
        if _ESCAPED_SURROGATE.search(line):
            row = json.loads(replace_surrogates(json.dumps(row, ensure_ascii=False)))
    except UnicodeDecodeError as error:
        raise RowError(f"not UTF-8 (byte {error.start} of the line)") from error
    except RecursionError as error:
        raise RowError("not readable JSON: nested too deeply") from error
    except ValueError as error:
        raise RowError(f"not readable JSON: {error}") from error
    if not isinstance(row, dict):
        raise RowError(f"a JSON object expected, found {type(row).__name__}")
    return row


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


def _image_names(row: Mapping[str, object]) -> tuple[str, ...]:
    names = row.get("images")
    if names is None:
        return ()
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise RowError("images is not a list of file names")
    return tuple(names)


def _image_blocks(messages: object) -> list[Mapping[str, object]]:
    """Image blocks of all messages, in order; what is malformed is left to `segments_from_messages` to name."""
    turns = messages if isinstance(messages, list) else []
    contents = [turn.get("content") for turn in turns if isinstance(turn, dict)]
    blocks = [block for content in contents if isinstance(content, list) for block in content]
    return [block for block in blocks if isinstance(block, dict) and block.get("type") == "image"]


def _chosen_names(blocks: Sequence[Mapping[str, object]], names: tuple[str, ...], where: str) -> tuple[str, ...]:
    """File names of image blocks: those in the blocks, or those of the row's `images`."""
    inside: list[str] = []
    for number, block in enumerate(blocks):
        name = next((block[field] for field in ("image", "path", "url") if field in block), None)
        if name is not None and not isinstance(name, str):
            raise RowError(f"image {number} of {where} is {type(name).__name__}, a file name expected")
        if name is not None:
            inside.append(name)
    if names and inside:
        raise RowError(f"images are named both in images and in {where}; name each once")
    chosen = names or tuple(inside)
    if len(chosen) != len(blocks):
        raise RowError(f"{where} has {len(blocks)} images, but {len(chosen)} file names")
    return chosen


def _join(pieces: list[str]) -> tuple[Segment, ...]:
    segments: list[Segment] = []
    for index, piece in enumerate(pieces):
        if index:
            segments.append(ImageSegment(index=index - 1))
        if piece:
            segments.append(TextSegment(text=piece))
    return tuple(segments)


def mark_lines(path: Path) -> tuple[int, tuple[int, ...]]:
    """Count a file's lines, and note the offset of each thousandth, from the first.

    Raises:
        OSError: the file cannot be read.
    """
    marks: list[int] = []
    num_lines = offset = 0
    with path.open("rb") as file:
        while line := file.readline(MAX_LINE_BYTES):
            if num_lines % _LINES_PER_MARK == 0:
                marks.append(offset)
            num_lines += 1
            offset += len(line) + _skip_rest(file, line)
    return num_lines, tuple(marks)


def numbered_lines(path: Path, marks: Sequence[int], first: int, count: int) -> Iterator[tuple[int, bytes | None]]:
    """Lines `first` to `first + count - 1`, from 1, with their numbers; None for one above `MAX_LINE_BYTES`.

    Raises:
        OSError: the file cannot be read.
    """
    mark = (first - 1) // _LINES_PER_MARK
    with path.open("rb") as file:
        file.seek(marks[mark])
        for number in range(mark * _LINES_PER_MARK + 1, first + count):
            line = file.readline(MAX_LINE_BYTES)
            is_long = _skip_rest(file, line) > 0
            if number >= first:
                yield number, None if is_long else line


def _skip_rest(file: BinaryIO, line: bytes) -> int:
    """Read to the end of a line of which only the beginning was read; returns the number of bytes skipped."""
    skipped = 0
    while len(line) == MAX_LINE_BYTES and not line.endswith(b"\n"):
        line = file.readline(MAX_LINE_BYTES)
        skipped += len(line)
    return skipped
