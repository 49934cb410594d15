"""Reasons of what is quarantined, as a report has them: counted by kind, and one of each in full, with what helps."""

import re
from collections.abc import Iterator, Sequence
from itertools import islice

from wdstream.make_shards.jobs import Quarantined
from wdstream.text.characters import short_name

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
