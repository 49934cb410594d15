"""Every image file of tests/data, the hostile ones too: its size and pixels, or why it is refused.

Spans: pixels.
"""

import numpy as np
import pytest

from tests.helpers.paths import DATA
from wdstream.errors import DecodeError
from wdstream.pixels.decode import decode_image
from wdstream.pixels.header import image_size

SUFFIXES = {".bmp", ".gif", ".jpg", ".png", ".tif", ".tiff", ".webp"}
Color = tuple[int, int, int]

# (width, height), the mean of each channel, the pixel a third from the left and from the top; a grey page is one plane.
IMAGES: dict[str, tuple[tuple[int, int], tuple[float, float, float], Color]] = {
    "bad/pillow-exif_imagemagick_orientation.png": ((512, 512), (144.5, 142.6, 143.1), (255, 255, 255)),
    "bad/pillow-hopper_orientation_6.jpg": ((128, 128), (89.7, 80.1, 95.3), (90, 46, 21)),
    "bad/pillow-hopper_orientation_8.webp": ((128, 128), (89.7, 80.2, 95.5), (91, 33, 11)),
    "bad/pillow-hopper_zero_comment_subblocks.gif": ((128, 128), (89.7, 80.1, 95.4), (77, 50, 47)),
    "bad/pillow-pil123p.png": ((162, 150), (190.1, 188.8, 171.6), (248, 218, 12)),
    "bad/pillow-pil_sample_cmyk.jpg": ((100, 100), (30.2, 5.4, 7.4), (145, 16, 23)),
    "bad/pillow-tiff_16bit_RGBa.tiff": ((100, 40), (214.0, 201.0, 193.9), (219, 215, 214)),
    "bad/pillow-tiff_wrong_bits_per_sample.tiff": ((52, 53), (201.2, 201.1, 206.0), (40, 39, 55)),
    "bad/pillow-transparent.png": ((200, 150), (211.0, 202.7, 204.1), (94, 94, 197)),
    "bad/rows/images/pillow-transparent.png": ((200, 150), (211.0, 202.7, 204.1), (94, 94, 197)),
    "pages/images/img2table-borderless_1.png": ((1021, 745), (250.7, 250.7, 250.7), (255, 255, 255)),
    "pages/images/leptonlib-german.png": ((483, 871), (228.4, 228.4, 228.4), (254, 254, 254)),
    "pages/rows/images/leptonlib-lapide.052.100.jpg": ((861, 1308), (174.6, 140.7, 103.4), (202, 157, 116)),
    "pages/rows/images/leptonlib-zanotti-78.jpg": ((1052, 1524), (222.7, 205.7, 173.0), (52, 31, 2)),
    "pages/rows/images/ocrmypdf-baiona_color.jpg": ((640, 682), (239.5, 240.7, 231.8), (208, 92, 53)),
    "pages/rows/images/tesseract-hebrew.png": ((564, 243), (232.9, 233.8, 227.6), (251, 252, 245)),
    "pages/scans/leptonlib-cat.007.jpg": ((1111, 2010), (176.6, 150.5, 109.4), (50, 33, 7)),
}
_ROW_FORMS = (
    *("codeblock", "hf_dict", "image_path", "imagefolder", "llava", "no_images_key_placeholder", "openai"),
    *("singular_image", "swift", "swift_dict", "windows"),
)
# Two pictures next to the rows of each form, all of the same bytes.
IMAGES |= {
    f"cases/rows/{form}/{name}.png": ((200, 100), (254.5, 254.5, 254.5), (255, 255, 255))
    for form in _ROW_FORMS
    for name in ("a", "b")
}
GREY: dict[str, tuple[tuple[int, int], float, int]] = {
    "pages/rows/images/tesseract-devatest.png": ((1024, 486), 233.9, 253),
    "pages/rows/images/ocrmypdf-linn.png": ((2550, 3300), 235.5, 255),
    "pages/images/tesseract-phototest-rotated-L.png": ((480, 640), 230.9, 255),
    "pages/images/ocrmypdf-typewriter.png": ((4000, 2864), 239.4, 255),
    "bad/pillow-16bit.cropped.tif": ((64, 64), 1.4, 1),
    "bad/pillow-hopper_gray_4bpp.tif": ((128, 128), 85.4, 51),
    "pages/images/leptonlib-harmoniam-11.tif": ((2157, 2968), 226.5, 255),
    "pages/images/tesseract-eurotext.tif": ((1024, 800), 229.2, 255),
    "pages/images/tesseract-phototest.tif": ((640, 480), 230.9, 255),
    "pages/scans/leptonlib-lucasta.1.300.tif": ((1065, 1879), 228.7, 255),
}
REFUSED = {
    "bad/pillow-bmp_b_badwidth.bmp": "BMP image cannot be decoded: DecompressionBombError",
    "bad/pillow-bmp_b_reallybig.bmp": "BMP image cannot be decoded: DecompressionBombError",
    "bad/pillow-broken.png": "PNG image cannot be decoded: its first chunk is",
    "bad/pillow-decompression_bomb.gif": "GIF image cannot be decoded: DecompressionBombError",
    "bad/pillow-libtiff_segfault.tif": "TIFF image cannot be decoded: UnidentifiedImageError: cannot identify",
    "bad/pillow-multipage.tiff": "TIFF image has several pages, and one is expected",
    "bad/pillow-png_decompression_dos.png": "PNG image cannot be decoded: ValueError: Decompressed data too large",
    "bad/pillow-seek_too_large.tif": "TIFF image cannot be decoded: ValueError: Unable to seek",
    "bad/pillow-total-pages-zero.tif": "TIFF image has several pages",
    "pages/images/pillow-g4-multi.tiff": "TIFF image has several pages",
    "bad/pillow-truncated_image.png": "PNG image cannot be decoded: it is truncated, its chunk at byte 33 is not whole",
    "bad/pillow-truncated_jpeg.jpg": "JPEG image cannot be decoded: ValueError: Premature end of JPEG file",
    "bad/pillow-unknown_compression_method.png": "PNG image cannot be decoded: UnidentifiedImageError",
    "bad/pillow-zero_width.gif": "GIF image cannot be decoded: UnidentifiedImageError: cannot identify image file",
    "bad/rows/images/pillow-broken.png": "PNG image cannot be decoded: its first chunk is",
}


def test_no_image_is_left_out() -> None:
    found = {path.relative_to(DATA).as_posix() for path in DATA.rglob("*") if path.suffix.lower() in SUFFIXES}
    assert found == {*IMAGES, *GREY, *REFUSED}


@pytest.mark.parametrize(("name", "expected"), IMAGES.items(), ids=IMAGES.keys())
def test_images(name: str, expected: tuple[tuple[int, int], tuple[float, float, float], tuple[int, int, int]]) -> None:
    size, means, pixel = expected
    data = (DATA / name).read_bytes()
    pixels = decode_image(data, max_pixels=size[0] * size[1])
    assert image_size(data) == (pixels.shape[1], pixels.shape[0]) == size
    tolerance = 1 if name.endswith((".jpg", ".webp")) else 0  # other versions of their decoders may round otherwise
    assert pixels.reshape(-1, 3).mean(0).tolist() == pytest.approx(means, abs=0.06 + 0.5 * tolerance)
    assert np.abs(pixels[size[1] // 3, size[0] // 3].astype(int) - pixel).max() <= tolerance


@pytest.mark.parametrize(("name", "expected"), GREY.items(), ids=GREY.keys())
def test_grey_images(name: str, expected: tuple[tuple[int, int], float, int]) -> None:
    size, mean, pixel = expected
    data = (DATA / name).read_bytes()
    pixels = decode_image(data, max_pixels=size[0] * size[1])
    assert pixels.strides[2] == 0
    assert image_size(data) == (pixels.shape[1], pixels.shape[0]) == size
    assert float(pixels[..., 0].mean()) == pytest.approx(mean, abs=0.06)
    assert pixels[size[1] // 3, size[0] // 3].tolist() == [pixel] * 3


@pytest.mark.parametrize(("name", "message"), REFUSED.items(), ids=REFUSED.keys())
def test_refused_images(name: str, message: str) -> None:
    with pytest.raises(DecodeError) as caught:
        decode_image((DATA / name).read_bytes(), max_pixels=10**8)
    assert str(caught.value).startswith(message)
    assert "0x" not in str(caught.value).split("UnidentifiedImageError")[-1]  # no address: messages repeat in every run


def test_every_file_has_a_licence() -> None:
    lines = [line.split(" | ") for line in (DATA / "LICENCES.txt").read_text().splitlines()[1:]]
    files = {path.relative_to(DATA).as_posix() for path in DATA.rglob("*") if path.is_file()} - {"LICENCES.txt"}
    assert {name for name, _, _ in lines} == files
    assert all(licence.strip() and source.strip() for _, licence, source in lines)
