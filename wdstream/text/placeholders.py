"""Placeholders of images in texts: which there are, and texts split at them, once. Pure, no tokenizer.

A placeholder is `<image>`, or the form of a model's processor:

    Qwen           `<|vision_start|>`, any `<|image_pad|>`s, `<|vision_end|>`, or an `<|image_pad|>` by itself
    Gemma 3        `<start_of_image>`, which its processor reads; its `<image_soft_token>` is what that becomes
    Gemma 4, GLM   `<|image|>`, with or without the marks of GLM around it

The form counts that occurs as often as there are images; of several that do, the first here. Texts without any have
their images before them. Any other number is an error, and so are placeholders where there is no image, and marks that
are placeholders elsewhere (`<image_1>`, `[IMG]`). So is `<video>` or `<audio>` at an end of
a text: what it stands for is not there.
"""

import re
from collections.abc import Sequence

from wdstream.errors import RowError
from wdstream.records import ImageSegment, Segment, TextSegment

_FORMS = {
    "<image>": "<image>",
    "<|image_pad|>": r"<\|vision_start\|>\s*(?:<\|image_pad\|>\s*)*<\|vision_end\|>|<\|image_pad\|>",
    "<start_of_image>": "<start_of_image>",
    "<|image|>": r"(?:<\|begin_of_image\|>)?<\|image\|>(?:<\|end_of_image\|>)?",
}
"""Placeholders by name -> pattern of all that stands for one image."""
# Of other models and datasets. The second ones occur in texts of any kind, and count only where there are images.
_NUMBERED_MARK = re.compile(r"<\|?image[ _-]?\d+\|?>|<ImageHere>|<image_placeholder>|<\|image_1\|>")
_OTHER_MARK = re.compile(
    r"<\|?image[ _-]?\d+\|?>|<ImageHere>|<image_placeholder>|</?IMG>|<img>|\[IMG\]|<IMAGE>|<Image>"
    r"|<image-placeholder>|<image_soft_token>|<IMG_CONTEXT>|<\|media_placeholder\|>"
)
MISSING = frozenset({"nan", "NaN", "NULL", "null", "None", "<NA>", "N/A", "\\N", "undefined"})
"""What programs write into tables and texts where a value is missing."""
_LONGEST_MISSING = 16
_LEADING_MARKS = (*_FORMS, "<|vision_start|>", "<|begin_of_image|>")
_OTHER_MEDIUM_MARK = re.compile(r"\A\s*<(?:video|audio)>(?!.*</)|<(?:video|audio)>\s*\Z", re.DOTALL)


def split_text(text: str, num_images: int, placeholder: str | None = None) -> tuple[TextSegment | ImageSegment, ...]:
    """Split a text at its placeholders; the text between them stays as it is, empty pieces go.

    A text without any has its images before it.

    Raises:
        RowError: there are placeholders, and not as many as images.
    """
    (segments,) = split_texts([text], num_images, placeholder)
    if segments is None:
        images = (ImageSegment(index=index) for index in range(num_images))
        return (*images, TextSegment(text=text)) if text else tuple(images)
    return segments


def leading_mark(segments: Sequence[Segment]) -> str:
    """The placeholder with which the text of a page of one image begins, as if it stood for that image; or the word
    for a missing value that is all of that text; or empty."""
    texts = [segment.text for segment in segments if isinstance(segment, TextSegment)]
    text = texts[0].lstrip() if texts else ""
    if len(text) <= _LONGEST_MISSING and text.rstrip() in MISSING and len(segments) == 2:
        return text.rstrip() if isinstance(segments[0], ImageSegment) else ""
    if not text.startswith("<") or sum(isinstance(segment, ImageSegment) for segment in segments) != 1:
        return ""
    return next((mark for mark in _LEADING_MARKS if text.startswith(mark)), "")


def split_texts(
    texts: Sequence[str], num_images: int, placeholder: str | None = None
) -> list[tuple[TextSegment | ImageSegment, ...] | None]:
    """Split several texts of one row, whose images are numbered through all of them; None for one without placeholder.

    Args:
        texts: in reading order.
        num_images: of the row.
        placeholder: the only text that stands for an image; None takes the forms above.

    Raises:
        RowError: the texts have placeholders, and not as many as there are images.
    """
    if placeholder is None:
        _refuse_other_media(texts)
    pattern = _chosen_pattern(texts, num_images, placeholder)
    found: list[tuple[TextSegment | ImageSegment, ...] | None] = []
    first = 0
    for text in texts:
        pieces = [text] if pattern is None else pattern.split(text)
        found.append(_join(pieces, first) if len(pieces) > 1 else None)
        first += len(pieces) - 1
    return found


def _chosen_pattern(texts: Sequence[str], num_images: int, placeholder: str | None) -> re.Pattern[str] | None:
    """What to split at; None where no text has a placeholder."""
    forms = list(_FORMS) if placeholder is None else [placeholder]
    if placeholder is None and not any("<" in text or "[" in text for text in texts):  # as all marks begin
        return None
    counts = []
    for form in forms:
        pattern = re.compile(_FORMS.get(form, re.escape(form)))
        count = sum(len(pattern.findall(text)) for text in texts)
        if count == num_images > 0:
            return pattern
        counts.append(count)
    if any(counts) or (num_images and placeholder is not None):
        occurrences = ", ".join(f"{count} of {form}" for count, form in zip(counts, forms, strict=True))
        raise RowError(
            f"{num_images} images, but the text has {occurrences}; each image needs one placeholder",
            option=". Where it is text and no placeholder, name another with --placeholder",
        )
    if placeholder is None:
        _refuse_other_marks(texts, num_images)
    return None


def _refuse_other_media(texts: Sequence[str]) -> None:
    mark = next((found[0] for text in texts if "<" in text and (found := _OTHER_MEDIUM_MARK.search(text))), None)
    if mark is not None:
        raise RowError(
            f"the text has {mark.strip()}, and nothing but images is read",
            option="; where it is text, say with --placeholder what stands for images",
        )


def _refuse_other_marks(texts: Sequence[str], num_images: int) -> None:
    pattern = _OTHER_MARK if num_images else _NUMBERED_MARK
    mark = next((found[0] for text in texts if (found := pattern.search(text))), None)
    if mark is not None:
        raise RowError(
            f"{num_images} images, and the text has {mark}, which looks like a placeholder and is none of "
            f"{', '.join(_FORMS)}; write one of these",
            option=", or say what it is with --placeholder",
        )


def _join(pieces: Sequence[str], first: int) -> tuple[TextSegment | ImageSegment, ...]:
    """Pieces of text with an image between each two, numbered from `first`."""
    segments: list[TextSegment | ImageSegment] = []
    for index, piece in enumerate(pieces):
        if index:
            segments.append(ImageSegment(index=first + index - 1))
        if piece:
            segments.append(TextSegment(text=piece))
    return tuple(segments)
