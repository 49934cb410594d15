"""How an image is known that nobody has opened: by its first bytes, by a name or link, as base64 or as a data URI.

Two questions are answered. What an image is, so that it can be read: `image_format`, `bytes_of_text`. And what looks
like one, so that it is not taken for metadata without a word: `looks_like_image`, `is_image_name`, which also know
formats that are not read (HEIC, JPEG XL, SVG, ...), and PDF pages in bytes.

Numbers have no first bytes that tell. In a row without an image, a vector is metadata, and what may be pixels is not:

    {"text": ..., "embedding": [0.12, -0.03, ...]}               a vector: numbers in one list
    {"text": ..., "embedding": b"\\x8f\\xc2..."}                   bytes under a name that speaks of one, or of length 1
    {"text": ..., "token_embeddings": [[0.1, ...], [0.3, ...]]}  numbers in rows under such a name
    {"text": ..., "data": [[0, 12, 255, ...], ...]}              pixels, as far as anyone can tell
    {"text": ..., "blob": b"..."}                                the same
"""

import base64
import binascii
import math
import re
import struct
from collections.abc import Sequence
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
_WRITTEN = re.compile(
    r"""(\{['"](?:path['"]: (?:None|'[^'\n]*'), ['"])?bytes['"]: b['"]|b['"])"""
    r"""|<PIL\.[\w.]+ (?:image mode=|size=)[^<>]*>\s*\Z"""
    r"""|(?:array\()?\[\[\[ *\d{1,3}(?:,? +\d{1,3}){2,3}\][^.]{0,200}\.\.\."""
)
"""How Python writes bytes, alone or in an object; Pillow, and numpy of pixels."""
_IMAGE_NAME = re.compile(rf"[^\n\r\0]*[^\s/\\]\.(?:{'|'.join(IMAGE_SUFFIXES)})", re.IGNORECASE)
_MAX_NAME, _MAX_FILE_NAME = 4096, 255
HEAD_BYTES = 64
"""By which an image is known."""
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{16,}={0,2}")
_LEAST_BASE64 = 32  # characters; the smallest file of any format is longer
_DATA_URI = re.compile(r"data:([^,]{0,200}),", re.IGNORECASE)
_HEX = re.compile(r"(?:0x|\\x)?([0-9a-fA-F]{130})")  # more than those of any hash
_DRAWING = re.compile(r"\s*(?:(?:<\?(?>.*?\?>)|<!--(?>.*?-->))\s*)*+(?:<svg[\s>:/]|<!DOCTYPE svg|%!PS-)", re.DOTALL)
NAME_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_VECTOR = re.compile(
    "(?:embed|embedding|emb|vector|vec|feature|feat|logit|prob|probability|probabilitie|hash|hashe|simhash|minhash|"
    "fingerprint|checksum|digest|uuid|guid|bloom|centroid|activation|token|id)s?|sha(?:1|224|256|384|512)?|md5"
)
_TABLE = re.compile(
    "(?:box|boxe|bbox|bboxe|quad|polygon|poly|point|coord|coordinate|keypoint|segment|segmentation|span|offset|position|"
    "table|cell|matrix|matrice|row|column|score|attention|distance|similaritie|similarity|confusion|count|statistic|stat|"
    "rect|rectangle|contour|vertex|vertice|landmark|alignment|adjacency|edge|logprob|colbert|series|sheet)s?"
)
_PLACED = re.compile("(?:line|word|block|paragraph|region|object|annotation|location|field|ocr)s?")
"""What has places, as four corners: rows of 8 numbers."""
_NUMBERS = re.compile(
    "(?:mask|rle|label|tag|length|len|size|width|height|indice|index|type|byte|char|code|level|value|page|start|stop|end|"
    "time|duration|year|age|rank|rating|quality|weight)s?|indexes|qualities"
)
_CORNERS = 8
_MOST_BYTES_OF_HASH = 64
_LEAST_NUMBERS = 16  # of a vector
_LEAST_PIXELS = 28 * 28  # of a picture in one list
_MOST_TEXT_CODE = 127
_FORMATS = (("f", 4, 1e-3), ("e", 2, 1e-2), ("d", 8, 1e-6))
"""Of floats as bytes: the letter of `struct`, bytes of one, and how far a vector's length may be from 1."""
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
    head = data[:HEAD_BYTES]
    name = image_format(head)
    if name is None:
        if head.startswith(_JXL_STREAM) and len(head) < HEAD_BYTES:
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
    """Whether a text is the bytes of an image as hexadecimal digits (`ffd8ff...`), or what Python writes of them
    (`b'\\xff\\xd8...'`), of an object with them, of a picture of Pillow or of pixels: what a table of texts keeps."""
    written = _WRITTEN.match(text) if text[:1] in ("b", "{", "<", "[", "a") else None
    if written is not None:
        return written[1] is None or text.startswith(_WRITTEN_BYTES, written.end())
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


def may_be_pixels(data: bytes, name: str) -> bool:
    """Whether bytes that do not begin as an image file could be one all the same; a short hash, text or a vector
    cannot.

    Args:
        data: all bytes of the value.
        name: under which it is, with the names of what it is inside of.
    """
    if len(data) <= _MOST_BYTES_OF_HASH or is_text(data):
        return False
    return not _speaks_of(_VECTOR, name) and not _has_unit_length(data)


def are_bytes_of_pixels(values: Sequence[object], name: str) -> bool:
    """Whether the numbers of one list could be a small picture: as many, from 0 to 255, and not those of a text."""
    if len(values) < _LEAST_PIXELS or any(_speaks_of(words, name) for words in (_VECTOR, _TABLE, _NUMBERS)):
        return False
    numbers = [value for value in values if type(value) is int and 0 <= value < 256]
    return len(numbers) == len(values) and max(numbers) > _MOST_TEXT_CODE and not is_text(bytes(numbers))


def sides_of_pixels(values: Sequence[object], name: str, *, least: int) -> tuple[int, int] | None:
    """The two largest sides of numbers in rows of one length, in order, where both are `least` or more and the name
    does not say that they are a table or vectors; None for anything else."""
    sides = _shape(values)
    if len(sides) < 2 or is_table_name(name) or (sides[1:] == (_CORNERS,) and _speaks_of(_PLACED, name)):
        return None
    low, high = sorted(sides)[-2:]
    return (low, high) if low >= least else None


def is_matrix(value: object, name: str) -> bool:
    """Whether an array has numbers in rows under a name which says that they are a table or vectors."""
    shape = getattr(value, "shape", None)
    return isinstance(shape, tuple) and len(shape) == 2 and not hasattr(value, "getexif") and is_table_name(name)


def is_table_name(name: str) -> bool:
    """Whether a name says that numbers in rows are a table or vectors."""
    return _speaks_of(_VECTOR, name) or _speaks_of(_TABLE, name)


def _speaks_of(words: re.Pattern[str], name: str) -> bool:
    return any(words.fullmatch(word.lower()) for word in NAME_WORD.findall(name))


def _shape(values: object) -> tuple[int, ...]:
    """The sides of lists in lists, all of one length, with numbers inside; empty for anything else."""
    if not isinstance(values, list | tuple) or not values:
        return ()
    first = values[0]
    if isinstance(first, int | float):
        return (len(values),) if all(isinstance(value, int | float) for value in values) else ()
    if not isinstance(first, list | tuple) or any(type(row) is not type(first) for row in values):
        return ()
    if any(len(row) != len(first) for row in values):
        return ()
    inner = _shape(first)
    return (len(values), *inner) if inner else ()


def _has_unit_length(data: bytes) -> bool:
    """Whether bytes are a vector of length 1, as embeddings are stored; no picture is."""
    for letter, size, tolerance in _FORMATS:
        number, rest = divmod(len(data), size)
        if rest or number < _LEAST_NUMBERS:
            continue
        squares = math.fsum(
            min(value * value, 4.0) for value in struct.unpack(f"<{number}{letter}", data) if value == value
        )
        if abs(squares - 1) < tolerance:
            return True
    return False
