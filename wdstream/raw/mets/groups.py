"""Which groups of files of a METS document are read: one image for each page, and its best text.

A document has a page in many copies: the master, one for the screen, a thumbnail, and in an OCR-D workspace one for
each step. The words in the name of a group (USE) say which is the whole page in full size, and which text is trusted
most: what people corrected before what the library got, before what a workflow made of it.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from wdstream.errors import ConfigError
from wdstream.text.characters import short_name

_IMAGES = ("MAX", "MASTER", "ORIGINAL", "DEFAULT", "PRESENTATION", "IMG", "IMAGE", "IMAGES", "SCAN", "SERVICE")
_TEXTS = ("GT", "FULLTEXT", "ALTO", "PAGE", "OCR", "TEXT")
_NO_PAGE = re.compile(
    r"THUMB\w*|MIN|TEASER|ICON|PREVIEW|DOWNLOAD|BIN|BINARI[SZ]ED|1BIT|NRM|CROP|CROPPED|CLIP|DEWARP|DESKEW|DESPECK|"
    r"LINE|LINES|REGION|REGIONS|BLOCK|WORD|SEG|GREY|GRAY|BW"
)
"""Images of a part of a page, or worked on, or small."""
_NO_TEXT = re.compile(r"SEG|LINE|BLOCK|REGION|IMG|BIN|CROP|DEWARP|DESKEW|EVAL|METADATA|TEI")
"""Descriptions of a page that most often have no text, or another one than its lines."""
_WORD = re.compile(r"[^\W_]+")
_SHOWN_GROUPS = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class MetsGroups:
    """Groups of METS documents that are read before all others, the best first.

    Attributes:
        images: groups of images (`RawSettings.mets_images`).
        texts: groups of texts (`RawSettings.mets_texts`).
    """

    images: Sequence[str] = ()
    texts: Sequence[str] = ()

    def image_rank(self, group: str) -> tuple[int, int]:
        """Where a group comes among those of images; lower is better."""
        if group.upper() == "OCR-D-IMG":
            return _wanted(group, self.images), -1
        return _wanted(group, self.images), _rank(group, _IMAGES, _NO_PAGE)

    def text_rank(self, group: str) -> tuple[int, int]:
        """Where a group comes among those of texts; lower is better."""
        return _wanted(group, self.texts), _rank(group, _TEXTS, _NO_TEXT)

    def check(self, found: Iterable[str]) -> None:
        """Check that every group that is named is in some document.

        Raises:
            ConfigError: one is in none, with those that are.
        """
        names = sorted({*found})
        for option, groups in (("--mets-image", self.images), ("--mets-text", self.texts)):
            for group in groups:
                if group not in names:
                    raise ConfigError(
                        f"{option} {short_name(group)}: no METS file in RAW has this group; {_there(names)}"
                    )


NO_GROUPS = MetsGroups()


@dataclass(slots=True)
class GroupCount:
    """How many files of which group something happened to."""

    counts: dict[str, int] = field(default_factory=dict)

    def add(self, group: str, number: int = 1) -> None:
        """Count files of a group."""
        self.counts[group] = self.counts.get(group, 0) + number

    def __str__(self) -> str:
        shown = [f"{count:,} {group}" for group, count in sorted(self.counts.items())[:_SHOWN_GROUPS]]
        return ", ".join(shown) + (", ..." if len(self.counts) > _SHOWN_GROUPS else "")


def _there(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_SHOWN_GROUPS])
    return f"found {shown}" if names else "found no METS file with pages"


def _wanted(group: str, wanted: Sequence[str]) -> int:
    return wanted.index(group) if group in wanted else len(wanted)


def _rank(group: str, good: Sequence[str], bad: re.Pattern[str]) -> int:
    """The place of the best word of a group's name; those with a bad word come after those with none that is known."""
    words = _WORD.findall(group.upper())
    best = min((good.index(word) for word in words if word in good), default=len(good))
    return best + (len(good) + 1 if any(bad.fullmatch(word) for word in words) else 0)
