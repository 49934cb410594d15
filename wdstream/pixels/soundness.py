"""Whether an encoded image would be decoded, without making its pixels: what make-shards asks of images that it copies.

Only the answer "sound" is given here, and only where it is certain. All else is left to `decode`, which refuses with
its own words or finds the image good: so both say the same of every file.

    JPEG   libjpeg's warnings come from reading bits. An eighth of the size in grey takes all bits that the whole page
           takes, of all components and scans, and leaves out most of what is done with them: a half of the time is
           saved, of large pages two thirds.
    PNG    Pillow reads everything up to the pixels. These are inflated and not unfiltered: their stream must be whole,
           exactly as long as the header says, with a known filter at the start of each row. A third to a tenth of the
           time. Interlaced and animated files, 16-bit grey, transparent colours, and files with more after their
           pixels are decoded.

TIFF, WebP and the rest are decoded.
"""

import zlib

import simplejpeg

from wdstream.pixels.decode import EncodedImage, check_limit, jpeg_scans, png_damage
from wdstream.pixels.header import png_chunks
from wdstream.pixels.pillow import open_image

_PNG_CHANNELS = {"1": 1, "L": 1, "P": 1, "LA": 2, "RGB": 3, "RGBA": 4}
"""By Pillow's mode, of those whose pixels are converted by rules that refuse nothing."""
_LAST_PNG_FILTER = 4
_PALETTE_BYTES = range(3, 3 * 256 + 1, 3)


def check_image(image: EncodedImage, *, max_pixels: int) -> None:
    """Refuse what `image.decode` refuses; call one of the two, once.

    Raises:
        DecodeError: see `decode_image`.
    """
    check_limit(image.header, max_pixels)
    is_sound = _IS_SOUND.get(image.header.format)
    if is_sound is None or not is_sound(image):
        image.decode(max_pixels=max_pixels)


def _is_sound_jpeg(image: EncodedImage) -> bool:
    colorspace = "CMYK" if image.header.mode == "CMYK" else "GRAY"
    try:
        simplejpeg.decode_jpeg(image.data, colorspace=colorspace, min_width=1, min_height=1)
    except Exception:  # whatever it is, decoding meets it again
        return False
    return jpeg_scans(image.data).are_complete


def _is_sound_png(image: EncodedImage) -> bool:
    data = image.data
    chunks = [*png_chunks(data)]
    kinds = [kind for kind, _, _ in chunks]
    first = kinds.index(b"IDAT") if b"IDAT" in kinds else len(kinds)
    is_plain = {*kinds[first:]} == {b"IDAT"} and not {b"acTL", b"tRNS"} & {*kinds}
    is_interlaced = data[28] != 0
    if not is_plain or is_interlaced or png_damage(data):
        return False
    with open_image(data, "PNG") as opened:
        channels = _PNG_CHANNELS.get(opened.mode)
        has_palette = opened.mode != "P" or _palette_bytes(chunks) in _PALETTE_BYTES
        width, height = opened.size
    if channels is None or not has_palette:
        return False
    row_bytes = 1 + (width * channels * data[24] + 7) // 8
    return _are_sound_rows(b"".join(data[start:end] for _, start, end in chunks[first:]), row_bytes, height)


def _palette_bytes(chunks: list[tuple[bytes, int, int]]) -> int:
    return sum(end - start for kind, start, end in chunks if kind == b"PLTE")


def _are_sound_rows(stream: bytes, row_bytes: int, height: int) -> bool:
    """Whether a stream inflates to exactly these rows, each with a known filter."""
    inflater = zlib.decompressobj()
    try:
        rows = inflater.decompress(stream, row_bytes * height + 1)
    except zlib.error:
        return False
    return inflater.eof and len(rows) == row_bytes * height and max(rows[::row_bytes]) <= _LAST_PNG_FILTER


_IS_SOUND = {"JPEG": _is_sound_jpeg, "PNG": _is_sound_png}
