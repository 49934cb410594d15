"""Before a stream begins: images and texts that are in tars of their own, `images-000.tar` and `texts-000.tar`.

A stream reads every tar by itself, in any lane, so it would never see the two halves of a sample together: the texts
would be trained on alone. The first samples of each tar give it away. Files on a disk are looked into, which takes a
fraction of a millisecond each. A pipe would have to be opened twice; so are a few addresses where their names say that
some have images and others texts.

Where some have images alone and others texts alone, which is never so in a sound set, more of their samples are
compared: `tar` writes the files of a folder in the order of its disk, which is another one in each folder.
"""

import re
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path

from wdstream.errors import ShardError, StorageFailureError, WdstreamError
from wdstream.nodes.tar_urls import is_remote, open_url
from wdstream.raw.tars.samples import read_samples
from wdstream.shards.layout import KeyRule, group_samples
from wdstream.shards.parts import IMAGE_HALF, TEXT_HALF, half_of, loose_name
from wdstream.shards.tar_header import walk
from wdstream.storage.addresses import shown_url
from wdstream.storage.forward import ForwardReads, unpacked

MAX_TARS, SAMPLES_OF_TAR = 512, 8
MAX_DOUBTFUL, SAMPLES_OF_DOUBTFUL = 32, 2000
_MOST_ADDRESSES = 2
_CALLED = {
    "images": re.compile("image|img|picture|photo|scan|jpe?g|png", re.IGNORECASE),
    "texts": re.compile("text|txt|caption|label|anno|json|ocr", re.IGNORECASE),
}


def refuse_apart(urls: Sequence[str], rule: KeyRule = "webdataset") -> None:
    """Look at the first samples of the first tars.

    Raises:
        ShardError: one has images without text, another the texts of these, by their keys.
    """
    tars = _halves(_to_look_into(urls), SAMPLES_OF_TAR, rule)
    _refuse_common(tars)
    if tars[IMAGE_HALF] and tars[TEXT_HALF]:
        doubtful = [url for half in tars.values() for url, _keys in half[:MAX_DOUBTFUL]]
        _refuse_common(_halves(doubtful, SAMPLES_OF_DOUBTFUL, rule))


def _to_look_into(urls: Sequence[str]) -> list[str]:
    """Files, and of addresses the first that are called after images and after texts, where there are both."""
    called: dict[str, list[str]] = {"images": [], "texts": []}
    for url in urls:
        name = "/".join(url.split("/")[-2:]) if is_remote(url) and not url.startswith("pipe:") else ""
        kinds = [kind for kind, words in _CALLED.items() if words.search(name)]
        if len(kinds) == 1:
            called[kinds[0]].append(url)
    few = [url for kind in called.values() for url in kind[:_MOST_ADDRESSES]] if all(called.values()) else []
    return [*[url for url in urls if not is_remote(url)][:MAX_TARS], *few]


def _halves(urls: Sequence[str], num_samples: int, rule: KeyRule) -> dict[int, list[tuple[str, frozenset[str]]]]:
    """Tars whose first samples are images alone or texts alone, with the keys of these."""
    tars: dict[int, list[tuple[str, frozenset[str]]]] = {IMAGE_HALF: [], TEXT_HALF: []}
    for url in urls:
        try:
            keys, halves = _first_samples(url, num_samples, rule)
        except StorageFailureError:
            break  # addresses are last, and one that is down is not waited for again for each: a lane will say it
        if len(halves) == 1 and (half := halves.pop()):
            tars[half].append((url, keys))
    return tars


def _refuse_common(tars: Mapping[int, Sequence[tuple[str, frozenset[str]]]]) -> None:
    for images, image_keys in tars[IMAGE_HALF]:
        for texts, text_keys in tars[TEXT_HALF]:
            if common := sorted(image_keys & text_keys):
                raise ShardError(
                    f"{shown_url(images)} has images without text and {shown_url(texts)} texts without image, of the "
                    f"same keys ({common[0]!r}, ...): they would be trained on apart; write tars in which the members "
                    "of a sample are neighbours"
                )


def _first_samples(url: str, num_samples: int, rule: KeyRule) -> tuple[frozenset[str], set[int]]:
    """Keys of the first samples of a tar, and which halves they are; none of one that only a stream can read."""
    if is_remote(url):
        return _first_of_address(url, num_samples, rule)
    try:
        with Path(url).open("rb") as file:

            def read(offset: int, length: int) -> bytes:
                file.seek(offset)
                return file.read(length)

            samples = list(islice(group_samples(walk(read, 0, Path(url).stat().st_size), rule), num_samples))
    except (OSError, ShardError):
        return frozenset(), set()  # compressed, or damaged: the lane that reads it will say so
    return frozenset(loose_name(span.key) for span in samples), {half_of(span.members) for span in samples}


def _first_of_address(url: str, num_samples: int, rule: KeyRule) -> tuple[frozenset[str], set[int]]:
    try:
        with open_url(url) as opened:
            stream, _is_plain = unpacked(opened, shown_url(url))
            reads = ForwardReads(stream, shown_url(url))
            samples = [
                (loose_name(sample.key), half_of(sample.members))
                for sample in islice(read_samples(reads, url, rule), num_samples)
                if sample.members
            ]
    except StorageFailureError:
        raise
    except (OSError, WdstreamError):
        return frozenset(), set()  # the lane that reads it will say so
    return frozenset(name for name, _ in samples), {half for _, half in samples}
