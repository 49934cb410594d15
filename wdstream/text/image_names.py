"""How an image is known that nobody has opened: by its first bytes, by a name or link, as base64 or as a data URI.

Two questions are answered. What an image is, so that it can be read: `image_format`, `bytes_of_text`. And what looks
like one, so that it is not taken for metadata without a word: `looks_like_image`, `is_image_name`, which also know
formats that are not read (HEIC, JPEG XL, SVG, ...), and PDF pages in bytes.
"""

import base64
import binascii
import re
from urllib.parse import unquote_to_bytes, urlsplit

from wdstream.errors import RowError

Magic = tuple[str, int, tuple[bytes, ...]]

# Only raster formats: Pillow would start a PostScript interpreter for EPS, for one.
IMAGE_MAGIC: tuple[Magic, ...] = (
    ("JPEG", 0, (b"\xff\xd8\xff",)),
    ("PNG", 0, (b"\x89PNG\r\n\x1a\n",)),
    ("TIFF", 0, (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")),
    ("WEBP", 8, (b"WEBP",)),
    ("GIF", 0, (b"GIF87a", b"GIF89a")),
    ("BMP", 0, (b"BM",)),
    ("JPEG2000", 0, (b"\x00\x00\x00\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51")),
    ("AVIF", 4, (b"ftypavif", b"ftypavis", b"ftypmif1")),
    ("PPM", 0, (b"P1", b"P2", b"P3", b"P4", b"P5", b"P6", b"Pf")),
)
"""Formats that are read, by Pillow's names: (name, offset of the magic, the magic)."""
_JXL_STREAM = b"\xff\x0a"
_OTHER_MAGIC: tuple[Magic, ...] = (
    ("HEIC", 4, (b"ftypheic", b"ftypheix", b"ftyphevc", b"ftypheim", b"ftypmsf1")),
    ("JPEG XL", 0, (_JXL_STREAM, b"\x00\x00\x00\x0cJXL \r\n\x87\n")),
    ("JBIG2", 0, (b"\x97JB2\r\n\x1a\n",)),
    ("JPEG XR", 0, (b"II\xbc\x01",)),
    ("PSD", 0, (b"8BPS",)),
    ("DDS", 0, (b"DDS ",)),
    ("QOI", 0, (b"qoif",)),
    ("DjVu", 0, (b"AT&TFORM",)),
    ("SVG", 0, (b"<svg",)),
    ("PostScript", 0, (b"%!PS", b"\xc5\xd0\xd3\xc6")),
    ("XPM", 0, (b"/* XPM */",)),
    ("XCF", 0, (b"gimp xcf ",)),
    ("WMF", 0, (b"\xd7\xcd\xc6\x9a",)),
    ("FITS", 0, (b"SIMPLE  =",)),
    ("PDF", 0, (b"%PDF-",)),
)
# Magics of two letters begin many a text, too; these are what follows them in a file of the format.
_WEAK_MAGIC = {
    "BMP": re.compile(rb"BM.{12}[\x0c\x28\x34\x38\x40\x6c\x7c]\0\0\0", re.DOTALL),
    "PPM": re.compile(rb"P[1-6f]\s+(#[^\n]*\s+)*\d+\s+\d+\s"),
}
IMAGE_SUFFIXES = (
    *("jpg", "jpeg", "jpe", "jfif", "pjpeg", "mpo", "png", "apng", "webp", "tif", "tiff", "gif", "bmp", "dib"),
    *("jp2", "j2k", "jpx", "jpf", "jxl", "jxr", "wdp", "avif", "heic", "heif", "hif", "jb2", "jbig2"),
    *("ppm", "pgm", "pbm", "pnm", "pam", "pfm", "svg", "svgz", "ico", "tga", "pcx", "psd", "dds", "qoi", "djvu"),
    *("djv", "dng", "cr2", "cr3", "nef", "arw", "rw2", "raf", "orf", "exr", "hdr", "sgi", "icns", "xbm", "xpm", "pict"),
    *("eps", "epsf", "xcf", "wmf", "emf", "dcm", "dicom", "fits", "jls", "jxs", "j2c", "jpc", "heics", "flif"),
)
"""Endings of image files, whether they can be read or not, in lower case and without the dot."""

_WRITTEN_BYTES = tuple(
    repr(magic)[2:-1] for _name, start, magics in (*IMAGE_MAGIC, *_OTHER_MAGIC) for magic in magics
    if not start and len(magic) > 2
)  # fmt: skip
_IMAGE_NAME = re.compile(rf"[^\n\r\0]*[^\s/\\]\.(?:{'|'.join(IMAGE_SUFFIXES)})", re.IGNORECASE)
_MAX_NAME, _MAX_FILE_NAME = 4096, 255
_HEAD_BYTES = 64
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{16,}={0,2}")
_LEAST_BASE64 = 32  # characters; the smallest file of any format is longer
_DATA_URI = re.compile(r"data:([^,]{0,200}),", re.IGNORECASE)
_HEX = re.compile(r"(?:0x|\\x)?([0-9a-fA-F]{130})")  # more than those of any hash
_DRAWING = re.compile(r"\s*(?:(?:<\?(?>.*?\?>)|<!--(?>.*?-->))\s*)*+(?:<svg[\s>:/]|<!DOCTYPE svg|%!PS-)", re.DOTALL)
_SPACE = re.compile(r"\s+")
_PATH_START = re.compile(r"^(\./)+")


def image_format(data: bytes) -> str | None:
    """The format of an image that can be read, as Pillow spells it, from its first bytes; None for anything else."""
    for name, start, magics in IMAGE_MAGIC:  # asked of every page: a generator takes twice as long
        if data.startswith(magics, start):
            return name
    return None


def unread_format(data: bytes) -> str | None:
    """The name of a format of images or pages that is known but not read, from its first bytes."""
    return next((name for name, start, magics in _OTHER_MAGIC if data.startswith(magics, start)), None)


def looks_like_image(data: bytes) -> bool:
    """Whether bytes, of which the first 64 suffice, are an image or a page of any known format."""
    head = data[:_HEAD_BYTES]
    name = image_format(head)
    if name is None:
        if head.startswith(_JXL_STREAM) and len(head) < _HEAD_BYTES:
            return False  # a digest, or a box: 255, 10, 90, 40
        return any(head.startswith(magics, start) for _name, start, magics in _OTHER_MAGIC)
    return name not in _WEAK_MAGIC or _WEAK_MAGIC[name].match(head) is not None


def is_image_name(text: str, *, has_spaces: bool = False) -> bool:
    """Whether a whole text is a file name or a link that ends like an image.

    Args:
        text: of any kind.
        has_spaces: whether a name may have spaces inside, as one line of prose has.
    """
    text = text.strip()
    if not text or len(text) > _MAX_NAME:
        return False
    if (" " in text or "\t" in text) and not (has_spaces and len(text) <= _MAX_FILE_NAME):
        return False
    return _IMAGE_NAME.fullmatch(_path_of(text)) is not None


def is_drawing(text: str) -> bool:
    """Whether a text is a drawing: SVG, or PostScript."""
    return _DRAWING.match(text[:_MAX_NAME]) is not None


def is_text(data: bytes) -> bool:
    """Whether bytes are text in UTF-8, without NUL."""
    try:
        return "\0" not in data.decode("utf-8")
    except UnicodeDecodeError:
        return False


def are_one_name(first: str, second: str) -> bool:
    """Whether two names may be of one file: equal, one the end of the other's path, or a link with that last part."""
    paths = sorted(
        (_PATH_START.sub("", _path_of(name.strip()).replace("\\", "/")) for name in (first, second)), key=len
    )
    if is_link(first) != is_link(second):
        paths = [path.rpartition("/")[2] for path in paths]
    return bool(paths[0]) and (paths[0] == paths[1] or paths[1].endswith("/" + paths[0]))


def is_link(text: str) -> bool:
    """Whether a text is an address, `https://...`, not a file name."""
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", text.strip()) is not None


def bytes_of_text(text: str) -> bytes | None:
    """The image file that a text holds as base64 or as a data URI; None for any other text.

    Raises:
        RowError: a data URI that holds no image, or cannot be decoded.
    """
    head = text[:64].lstrip()
    if head[:5].lower() == "data:":
        return _from_data_uri(text.strip())
    if len(text) < _LEAST_BASE64 or _BASE64.match(head) is None or not _begins_as_image(head):
        return None
    return _decoded(text)


def holds_image(text: str) -> bool:
    """Whether a text is the data URI of an image, or base64 of one, or its bytes as hexadecimal digits or as Python
    writes them. Never raises."""
    head = text[:300].lstrip()
    if is_spelt_image(head):
        return True
    if head[:5].lower() == "data:":
        found = _DATA_URI.match(head)
        return found is not None and (found[1].lower().startswith("image/") or _begins_as_image(head[found.end() :]))
    return len(text) >= _LEAST_BASE64 and _BASE64.match(head) is not None and _begins_as_image(head)


def is_spelt_image(text: str) -> bool:
    """Whether a text is the bytes of an image as hexadecimal digits (`ffd8ff...`), or as Python writes them
    (`b'\\xff\\xd8...'`), which is what a table of texts keeps of them."""
    if text.startswith(("b'", 'b"')):
        return text.startswith(_WRITTEN_BYTES, 2)
    digits = _HEX.match(text)
    return digits is not None and looks_like_image(bytes.fromhex(digits[1]))


def _from_data_uri(text: str) -> bytes:
    found = _DATA_URI.match(text)
    if found is None:
        raise RowError(f"data URI {text[:40]!r} has no data after a comma; expected data:image/png;base64,...")
    parameters = [parameter.strip() for parameter in found[1].lower().split(";")]
    data = _decoded(text[found.end() :]) if "base64" in parameters else unquote_to_bytes(text[found.end() :])
    if not data:
        raise RowError(f"data URI {text[:40]!r} cannot be decoded, or is empty; expected data:image/png;base64,...")
    return data


def _begins_as_image(head: str) -> bool:
    """Of base64. A JPEG XL stream without a box begins as the path `/work` does, and does not count."""
    data = _decoded(_SPACE.sub("", head)[:32])
    return data is not None and not data.startswith(_JXL_STREAM) and looks_like_image(data)


def _decoded(text: str) -> bytes | None:
    """Bytes of base64, in the usual or the URL alphabet, with line ends, with or without padding; None for others."""
    text = _SPACE.sub("", text).translate({ord("-"): "+", ord("_"): "/"}).rstrip("=")
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        return None


def _path_of(text: str) -> str:
    """A link without its query and fragment; any other text as it is."""
    if not is_link(text):
        return text
    try:
        return urlsplit(text).path
    except ValueError:  # a broken IPv6 address
        return text
