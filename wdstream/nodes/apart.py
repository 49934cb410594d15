"""Before a stream begins: images and texts that are in tars of their own, `images-000.tar` and `texts-000.tar`.

A stream reads every tar by itself, in any lane, so it would never see the two halves of a sample together: the texts
would be trained on alone. The first samples of each tar give it away. Only files on a disk are looked into, which takes
a fraction of a millisecond each; an address or a pipe would have to be opened twice.
"""

from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from wdstream.errors import ShardError
from wdstream.nodes.tar_urls import is_remote
from wdstream.shards.layout import group_samples
from wdstream.shards.parts import IMAGE_HALF, TEXT_HALF, half_of, loose_name
from wdstream.shards.tar_header import walk

MAX_TARS, SAMPLES_OF_TAR = 512, 8


def refuse_apart(urls: Sequence[str]) -> None:
    """Look at the first samples of the first tars.

    Raises:
        ShardError: one has images without text, another the texts of these, by their keys.
    """
    tars: dict[int, list[tuple[str, frozenset[str]]]] = {IMAGE_HALF: [], TEXT_HALF: []}
    for url in urls[:MAX_TARS]:
        keys, halves = _first_samples(url)
        if len(halves) == 1 and (half := halves.pop()):
            tars[half].append((url, keys))
    for images, image_keys in tars[IMAGE_HALF]:
        for texts, text_keys in tars[TEXT_HALF]:
            if common := sorted(image_keys & text_keys):
                raise ShardError(
                    f"{images} has images without text and {texts} texts without image, of the same keys "
                    f"({common[0]!r}, ...): they would be trained on apart; write tars in which the members of a "
                    "sample are neighbours"
                )


def _first_samples(url: str) -> tuple[frozenset[str], set[int]]:
    """Keys of the first samples of a tar, and which halves they are; none of one that only a stream can read."""
    if is_remote(url):
        return frozenset(), set()
    try:
        with Path(url).open("rb") as file:

            def read(offset: int, length: int) -> bytes:
                file.seek(offset)
                return file.read(length)

            samples = list(islice(group_samples(walk(read, 0, Path(url).stat().st_size)), SAMPLES_OF_TAR))
    except (OSError, ShardError):
        return frozenset(), set()  # compressed, or damaged: the lane that reads it will say so
    return frozenset(loose_name(span.key) for span in samples), {half_of(span.members) for span in samples}
