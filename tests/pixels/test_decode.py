import io
import logging
import subprocess
import sys
import threading
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import simplejpeg
from PIL import Image, ImageFile, ImageOps

from tests.helpers.paths import DATA
from wdstream.errors import ConfigError, DecodeError
from wdstream.pixels.decode import decode_image
from wdstream.pixels.header import image_header, image_size
from wdstream.records import Pixels

LIMIT = 10**8
# Upright: red, green over blue, white; wider than high.
CORNERS = [[(255, 0, 0), (0, 255, 0)], [(0, 0, 255), (255, 255, 255)]]
# How a picture is stored so that its orientation makes it upright again: the inverse of what the tag asks for.
STORE = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def decode(data: bytes, **settings: Any) -> Pixels:
    return decode_image(data, max_pixels=LIMIT, **settings)


def stored(image: Image.Image, image_format: str, **settings: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, image_format, **settings)
    return stream.getvalue()


def upright() -> Image.Image:
    pixels = np.zeros((32, 64, 3), np.uint8)
    for row in range(2):
        for column in range(2):
            pixels[row * 16 : row * 16 + 16, column * 32 : column * 32 + 32] = CORNERS[row][column]
    return Image.fromarray(pixels)


def stored_with(orientation: int, image_format: str, place: str) -> bytes:
    """The upright picture stored for an orientation that is written in EXIF or XMP."""
    image = upright()
    method = STORE[orientation]
    turned = image if method is None else image.transpose(method)
    exact: dict[str, dict[str, Any]] = {"JPEG": {"quality": 95, "subsampling": 0}, "WEBP": {"lossless": True}}
    settings = exact.get(image_format, {})
    if place == "exif":
        exif = Image.Exif()
        exif[0x0112] = orientation
        return stored(turned, image_format, exif=exif, **settings)
    packet = f'<x:xmpmeta><rdf:Description tiff:Orientation="{orientation}"/></x:xmpmeta>'.encode()
    if image_format == "PNG":
        from PIL.PngImagePlugin import PngInfo

        info = PngInfo()
        info.add_itxt("XML:com.adobe.xmp", packet.decode())
        return stored(turned, "PNG", pnginfo=info)
    if image_format == "TIFF":
        return stored(turned, "TIFF", tiffinfo={700: packet})
    return stored(turned, image_format, xmp=packet, **settings)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("place", ["exif", "xmp"])
@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_orientation_is_applied(image_format: str, place: str, orientation: int) -> None:
    data = stored_with(orientation, image_format, place)
    header = image_header(data)
    assert (header.width, header.height, header.orientation) == (64, 32, orientation)
    pixels = decode(data)
    assert pixels.shape == (32, 64, 3)
    found = pixels[8::16, 16::32].astype(int)
    assert np.abs(found - np.array(CORNERS)).max() <= 2  # JPEG


@pytest.mark.parametrize("orientation", range(1, 9))
def test_grey_images_are_turned_too(orientation: int) -> None:
    grey = upright().convert("L")
    method = STORE[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    turned = grey if method is None else grey.transpose(method)
    pixels = decode(stored(turned, "JPEG", quality=100, exif=exif))
    assert pixels.strides[2] == 0
    assert np.abs(pixels[8::16, 16::32, 0].astype(int) - [[76, 150], [29, 255]]).max() <= 1


REAL = sorted(path for path in (DATA / "pages").rglob("*") if path.suffix in {".jpg", ".png", ".tif", ".tiff"})
REAL.remove(DATA / "pages/images/pillow-g4-multi.tiff")  # of several pages


@pytest.mark.parametrize("path", REAL, ids=lambda path: path.name)
def test_real_pages_equal_pillow(path: Path) -> None:
    """Pages without alpha: not one grey level from Pillow, JPEG included (same libjpeg-turbo, same settings)."""
    data = path.read_bytes()
    with Image.open(io.BytesIO(data)) as image:
        wanted = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    assert np.array_equal(decode(data), wanted)


@pytest.mark.parametrize(("mode", "strides"), [("L", (64, 1, 0)), ("RGB", (192, 3, 1))])
def test_grey_jpeg_is_one_plane_seen_three_times(mode: str, strides: tuple[int, ...]) -> None:
    pixels = decode(stored(upright().convert(mode), "JPEG"))
    assert (pixels.shape, pixels.strides, pixels.dtype) == ((32, 64, 3), strides, np.dtype(np.uint8))


def test_cmyk_and_ycck_jpeg() -> None:
    """Adobe stores inks inverted: cyan 0, magenta 255, yellow 255, key 0 is stored as its complement and prints red."""
    red = Image.new("CMYK", (16, 16), (0, 255, 255, 0))
    assert np.abs(decode(stored(red, "JPEG", quality=100)).astype(int) - (255, 0, 0)).max() <= 2
    half_black = Image.new("CMYK", (16, 16), (0, 0, 0, 128))
    assert np.abs(decode(stored(half_black, "JPEG", quality=100)).astype(int) - 127).max() <= 1
    ycck = (DATA / "bad/pillow-pil_sample_cmyk.jpg").read_bytes()
    assert simplejpeg.decode_jpeg_header(ycck)[2] == "YCCK"
    with Image.open(io.BytesIO(ycck)) as image:
        assert np.array_equal(decode(ycck), np.asarray(image.convert("RGB")))


def test_limit_is_checked_before_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    jpeg, png, tiff = (stored(Image.new("RGB", (100, 50)), name) for name in ("JPEG", "PNG", "TIFF"))
    for data in (jpeg, png, tiff):
        assert decode_image(data, max_pixels=5000).shape == (50, 100, 3)
        # Cut to a header: a decoder that started would say "truncated".
        with pytest.raises(
            DecodeError, match=r"image of 100x50 pixels is above the limit of 4999 pixels \(max_pixels\)"
        ):
            decode_image(data, max_pixels=4999)
    png_header_only = png[:40]  # a decoder that started would say truncated
    with pytest.raises(DecodeError, match="above the limit of 4999"):
        decode_image(png_header_only, max_pixels=4999)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 4000)  # between once and twice its limit Pillow only warns
    with pytest.raises(DecodeError, match="TIFF image of 100x50 pixels: Pillow's limit is 4000 pixels"):
        decode_image(tiff, max_pixels=10**9)


@pytest.mark.parametrize("path", [p for p in REAL if p.stat().st_size < 150_000], ids=lambda path: path.name)
@pytest.mark.parametrize("keep", [0.05, 0.35, 0.7, 0.95, 0.999])
def test_a_truncated_page_is_an_error_never_half_a_page(path: Path, keep: float) -> None:
    data = path.read_bytes()
    try:
        pixels = decode(data[: int(len(data) * keep)])
    except DecodeError:
        return
    assert np.array_equal(pixels, decode(data))  # what was cut off was metadata


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG2000"])
def test_a_file_cut_in_the_middle_is_an_error(image_format: str) -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    data = stored(noise, image_format)
    assert decode(data).shape == (64, 64, 3)
    with pytest.raises(DecodeError):
        decode(data[: len(data) // 2])


def test_pillow_must_not_be_made_to_complete_truncated_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """The switch is the process's, and many a training script sets it: half a page would pass without a word."""
    data = stored(upright().resize((640, 320)), "TIFF", compression="raw")
    half = data[: len(data) // 2]
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    for file in (data, half):
        with pytest.raises(ConfigError, match=r"LOAD_TRUNCATED_IMAGES is set: .* Set it to False"):
            decode(file)
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", False)
    assert decode(data).shape == (320, 640, 3)
    with pytest.raises(DecodeError, match="TIFF image cannot be decoded"):
        decode(half)


def test_bytes_left_over_before_the_end_of_a_jpeg_do_no_harm() -> None:
    data = stored(upright(), "JPEG")
    left_over = data[:-2] + b"\x12\x34\x56" + data[-2:]
    with pytest.raises(ValueError, match="extraneous bytes before marker 0xd9"):
        simplejpeg.decode_jpeg(left_over)
    assert np.array_equal(decode(left_over), decode(data))


def test_a_jpeg_with_a_damaged_scan_is_an_error() -> None:
    data = bytearray((DATA / "pages/scans/leptonlib-cat.007.jpg").read_bytes())
    middle = len(data) // 2
    data[middle : middle + 64] = b"\xff\xd9" * 32
    with pytest.raises(DecodeError, match="JPEG image cannot be decoded"):
        decode(bytes(data))


def test_pillow_warnings_stay_inside(capfd: pytest.CaptureFixture[str]) -> None:
    """Corrupt EXIF makes Pillow warn; the page decodes all the same, whatever a user's filters say, in any thread."""
    exif = Image.Exif()
    exif[0x010F] = "maker"
    tiff = bytearray(stored(upright(), "TIFF", exif=exif))
    directory = int.from_bytes(tiff[4:8], "little")
    for entry in range(int.from_bytes(tiff[directory : directory + 2], "little")):
        start = directory + 2 + 12 * entry
        if int.from_bytes(tiff[start : start + 2], "little") == 0x010F:
            tiff[start + 4 : start + 8] = (2**24).to_bytes(4, "little")  # a maker's name of 16 MB
    with pytest.warns(UserWarning, match="Truncated|Corrupt|larger than file"), warnings.catch_warnings():
        warnings.simplefilter("always")
        with Image.open(io.BytesIO(bytes(tiff))) as image:
            image.load()
    results: list[Pixels] = []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        worker = threading.Thread(target=lambda: results.append(decode(bytes(tiff))))
        worker.start()
        worker.join()
    assert np.array_equal(results[0], np.asarray(upright()))
    with pytest.raises(DecodeError):
        decode((DATA / "bad/pillow-libtiff_segfault.tif").read_bytes())
    assert capfd.readouterr() == ("", "")
    assert any(isinstance(handler, logging.NullHandler) for handler in logging.getLogger("PIL").handlers)


@pytest.mark.parametrize("image_format", ["GIF", "PNG", "WEBP"])
def test_the_first_frame_counts(image_format: str) -> None:
    frames = [Image.new("RGB", (8, 8), color) for color in ("red", "lime", "blue")]
    settings: dict[str, Any] = {"lossless": True} if image_format == "WEBP" else {}
    data = stored(frames[0], image_format, save_all=True, append_images=frames[1:], **settings)
    assert image_header(data).num_frames == 3
    assert decode(data)[0, 0].tolist() == [255, 0, 0]


@pytest.mark.parametrize("orientation", [1, 6])
def test_scaled_decode_stops_above_the_wanted_size(orientation: int) -> None:
    image = Image.open(DATA / "pages/scans/leptonlib-cat.007.jpg")
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = stored(image, "JPEG", quality=90, exif=exif)
    width, height = image_size(data)
    assert {width, height} == {1111, 2010}
    half = decode(data, min_size=((width + 1) // 2, (height + 1) // 2))
    assert half.shape[:2] == ((height + 1) // 2, (width + 1) // 2)
    assert decode(data, min_size=(width, height)).shape[:2] == (height, width)
    assert decode(data, min_size=(width // 2 + 20, 1)).shape[1] >= width // 2 + 20


def test_only_the_plugin_of_the_format_is_loaded() -> None:
    """Pillow would load all its plugins for a TIFF: a tenth of a second before the first batch."""
    code = (
        "import sys; from pathlib import Path; from wdstream.pixels.header import image_size\n"
        "print(image_size(Path(sys.argv[1]).read_bytes()), 'PIL.XpmImagePlugin' in sys.modules)"
    )
    path = DATA / "pages" / "images" / "tesseract-phototest.tif"
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    assert done.stdout == "(640, 480) False\n"
