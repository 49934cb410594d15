"""Samples whose image and text are apart: all images first and all texts later in a tar, or in tars of their own.

Members of a sample are neighbours. Where they are not, each half is a sample by itself to every reader of tars: a page
without text, and a text without its image, which would be trained on alone. Two halves of one key give it away.
"""

from collections.abc import Iterable

from wdstream.shards.meta import hash_key
from wdstream.shards.parts import names_image

MAX_HALVES = 100_000
"""Kept of a tar that is streamed. Where the halves of a tar are in one order, the first of them meet first."""
IMAGE_HALF, TEXT_HALF = 1, 2


def half_of(extensions: Iterable[str]) -> int:
    """IMAGE_HALF for a sample of images alone, TEXT_HALF for one without an image; 0 for one that has both."""
    images = [names_image(extension) for extension in extensions]
    if all(images):
        return IMAGE_HALF
    return 0 if any(images) else TEXT_HALF


def are_apart(halves: Iterable[int]) -> bool:
    """Whether samples of one key are the halves of one."""
    return {IMAGE_HALF, TEXT_HALF} <= set(halves)


class HalvesSeen:
    """The keys of half samples of one tar, as it is read."""

    def __init__(self) -> None:
        self._seen: dict[int, int] = {}

    def add(self, key: str, extensions: Iterable[str]) -> bool:
        """Note a sample; returns whether it and one before are the halves of one."""
        half = half_of(extensions)
        if not half:
            return False
        before = self._seen.get(hash_key(key), 0)
        if not before and len(self._seen) < MAX_HALVES:
            self._seen[hash_key(key)] = half
        return are_apart((half, before))
