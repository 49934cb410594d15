r"""JSONL rows: text with placeholders, or content lists, to segments and image paths.

    {"text": "see <image> and <image>", "images": ["a.png", "b.jpg"], "lang": "en"}
    {"content": [{"type": "image", "image": "a.png"}, {"type": "text", "text": "..."}]}
    {"content": [{"type": "image"}, {"type": "text", "text": "..."}], "images": ["a.png"]}

The text of a row is taken word for word; it is split here, once, and never searched again. A placeholder is `<image>`,
or the form of a model's processor:

    Qwen           `<|vision_start|>`, any `<|image_pad|>`s, `<|vision_end|>`, or an `<|image_pad|>` by itself
    Gemma 3        `<start_of_image>`, which its processor reads; its `<image_soft_token>` is what that becomes
    Gemma 4, GLM   `<|image|>`, with or without the marks of GLM around it

The form counts that stands as often as there are images; of several that do, the first here. A row without the field
`images` is text only, whatever it says. A text of a content list that is not to be supervised carries
`"is_supervised": false`. A row with `messages` is a chat row (wdstream/text/messages.py), its images named in
`images` or in their parts. All other fields become the row's metadata.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, NoReturn

from wdstream.errors import RowError
from wdstream.records import ImageSegment, Segment, TextSegment
from wdstream.text.characters import replace_surrogates
from wdstream.text.messages import ChatLoss, segments_from_messages

_FORMS = {
    "<image>": "<image>",
    "<|image_pad|>": r"<\|vision_start\|>\s*(?:<\|image_pad\|>\s*)*<\|vision_end\|>|<\|image_pad\|>",
    "<start_of_image>": "<start_of_image>",
    "<|image|>": r"(?:<\|begin_of_image\|>)?<\|image\|>(?:<\|end_of_image\|>)?",
}
"""Placeholders by name -> pattern of all that stands for one image."""
_ESCAPED_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_OWN_FIELDS = frozenset({"text", "images", "content", "messages"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A row, its images not yet read.

    Attributes:
        segments: text and images in order; image i is `image_names[i]`.
        image_names: as the row gives them.
        meta: all other fields.
    """

    segments: tuple[Segment, ...]
    image_names: tuple[str, ...]
    meta: Mapping[str, Any]


def parse_row(line: bytes, placeholder: str | None = None, chat_loss: ChatLoss = "all") -> Row:
    """Parse one line.

    Args:
        line: UTF-8 JSON.
        placeholder: the only text that stands for an image; None takes the forms named above.
        chat_loss: which turns of the assistant are supervised in chat rows that do not say so themselves.

    Raises:
        RowError: it is no JSON object, has neither text nor content, or text and images do not belong together.
    """
    row = _parse_json(line)
    meta = {name: value for name, value in row.items() if name not in _OWN_FIELDS}
    if sum(field in row for field in ("text", "content", "messages")) != 1:
        found = ", ".join(sorted(row)) or "no fields"
        raise RowError(f"expected text (with images), content or messages, one of them; found {found}")
    names = _image_names(row)
    if "messages" in row:
        names = _chosen_names(_image_parts(row["messages"]), names, "messages")
        segments = segments_from_messages(row["messages"], num_images=len(names), loss=chat_loss)
    elif "text" in row:
        text = row["text"]
        if not isinstance(text, str):
            raise RowError(f"text is {type(text).__name__}, a string expected")
        if row.get("images") is None:
            return Row(segments=(TextSegment(text=text),) if text else (), image_names=(), meta=meta)
        segments = split_text(text, len(names), placeholder)
    else:
        segments, names = _content_segments(row["content"], names)
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
    found = ", ".join(f"{count} of {form}" for count, form in zip(counts, forms, strict=True))
    raise RowError(f"{num_images} images, but the text has {found}; each image needs one placeholder")


def resolve_image(folder: Path, name: str, *, allow_outside: bool = False) -> Path:
    """The file of a row's image.

    Args:
        folder: the folder of the JSONL file, which names are relative to.
        name: as the row gives it.
        allow_outside: whether it may lie outside the folder, or be reached by a link that leads outside.

    Raises:
        RowError: a URL, a path that leaves the folder, or no file.
    """
    if "://" in name or name.startswith("data:"):
        raise RowError(f"image {name[:80]!r} is a URL; fetch it first and give its path")
    if "\0" in name or not name:
        raise RowError(f"image {name[:80]!r} is no file name")
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


def _parse_json(line: bytes) -> dict[str, Any]:
    try:
        row = json.loads(line.decode("utf-8-sig"), parse_constant=_refuse_constant)
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
    raise ValueError(f"{name} is no JSON number")


def _image_names(row: Mapping[str, Any]) -> tuple[str, ...]:
    names = row.get("images")
    if names is None:
        return ()
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise RowError("images is not a list of file names")
    return tuple(names)


def _content_segments(content: Any, names: tuple[str, ...]) -> tuple[tuple[Segment, ...], tuple[str, ...]]:
    """Segments of a content list, and the image names in its order."""
    if not isinstance(content, list):
        raise RowError(f"content is {type(content).__name__}, a list expected")
    segments: list[Segment] = []
    images: list[Mapping[str, Any]] = []
    for place, item in enumerate(content):
        kind = item.get("type") if isinstance(item, dict) else None
        if kind == "image":
            segments.append(ImageSegment(index=len(images)))
            images.append(item)
        elif kind == "text" and isinstance(item.get("text"), str):
            if item["text"]:
                is_supervised = item.get("is_supervised") is not False
                segments.append(TextSegment(text=item["text"], is_supervised=is_supervised))
        else:
            raise RowError(f"item {place} of content is neither a text nor an image: {item!r:.80}")
    return tuple(segments), _chosen_names(images, names, "content")


def _image_parts(messages: Any) -> list[Mapping[str, Any]]:
    """Image parts of all messages, in order; what is malformed is left to `segments_from_messages` to name."""
    contents = (
        [message.get("content") for message in messages if isinstance(message, dict)]
        if isinstance(messages, list)
        else []
    )
    parts = [part for content in contents if isinstance(content, list) for part in content]
    return [part for part in parts if isinstance(part, dict) and part.get("type") == "image"]


def _chosen_names(parts: Sequence[Mapping[str, Any]], names: tuple[str, ...], where: str) -> tuple[str, ...]:
    """File names of image parts: those given in them, or those of the row's `images`."""
    own = [next((part[field] for field in ("image", "path", "url") if field in part), None) for part in parts]
    for place, name in enumerate(own):
        if name is not None and not isinstance(name, str):
            raise RowError(f"image {place} of {where} is {type(name).__name__}, a file name expected")
    given = tuple(name for name in own if name is not None)
    if names and given:
        raise RowError(f"images are named both in images and in {where}; name each once")
    if len(names or given) != len(parts):
        raise RowError(f"{where} has {len(parts)} images, but {len(names or given)} file names are given")
    return names or given


def _join(pieces: list[str]) -> tuple[Segment, ...]:
    segments: list[Segment] = []
    for index, piece in enumerate(pieces):
        if index:
            segments.append(ImageSegment(index=index - 1))
        if piece:
            segments.append(TextSegment(text=piece))
    return tuple(segments)
