import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.helpers.paths import DATA
from tests.helpers.raw_pages import read_raw
from wdstream.errors import DecodeError, SourceError
from wdstream.pixels.decode import decode_image
from wdstream.raw.images import count_pages, open_tiff, read_file, store_image
from wdstream.raw.settings import RawSettings

SETTINGS = RawSettings()
LIMIT = 1 << 30


def encode(image: Image.Image, image_format: str, **settings: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, image_format, **settings)
    return buffer.getvalue()


def picture(mode: str = "RGB") -> Image.Image:
    x, y = np.meshgrid(np.arange(60), np.arange(40))
    return Image.fromarray(np.stack([x * 4, y * 6, x + y], axis=2).astype(np.uint8)).convert(mode)


@pytest.mark.parametrize(
    ("image_format", "extension"),
    [("JPEG", "jpg"), ("PNG", "png"), ("WEBP", "webp"), ("TIFF", "tif"), ("GIF", "gif"), ("BMP", "bmp")],
)
def test_files_of_known_formats_keep_their_bytes(image_format: str, extension: str) -> None:
    data = encode(picture(), image_format)
    stored = store_image(data, SETTINGS)
    assert (stored.data, stored.extension, stored.size) == (data, extension, (60, 40))


def test_files_have_any_suffix_that_jpegs_have(tmp_path: Path) -> None:
    """As parts of samples in tars may."""
    for number, suffix in enumerate(("jpg", "JPEG", "jpe", "jfif", "mpo")):
        (tmp_path / f"{number}.{suffix}").write_bytes(encode(picture(), "MPO" if suffix == "mpo" else "JPEG"))
        (tmp_path / f"{number}.txt").write_text(f"text {number}")
    found = read_raw(tmp_path)
    assert (found.texts, found.refused) == ({f"{number}": f"text {number}" for number in range(5)}, [])


def test_other_formats_become_jpeg() -> None:
    stored = store_image(encode(picture(), "PPM"), SETTINGS)
    assert (stored.extension, stored.size) == ("jpg", (60, 40))
    reference = np.asarray(picture()).astype(int)
    difference = np.abs(decode_image(stored.data, max_pixels=LIMIT).astype(int) - reference)
    assert difference.mean() < 3


def test_a_truncated_image_passes_only_unchecked() -> None:
    data = (DATA / "bad/pillow-truncated_jpeg.jpg").read_bytes()
    with pytest.raises(DecodeError, match="Premature end of JPEG file"):
        store_image(data, SETTINGS)
    assert store_image(data, RawSettings(check_images=False)).data == data


def test_the_limit_counts_before_decoding() -> None:
    with pytest.raises(DecodeError, match="image of 60x40 pixels is above the limit of 2399 pixels"):
        store_image(encode(picture(), "PNG"), RawSettings(max_pixels=2399, check_images=False))


def test_pages_of_a_tiff(tmp_path: Path) -> None:
    """Grey, colour, 1-bit and a turned 1-bit page, as one file."""
    path = tmp_path / "x.tif"
    pages = [picture("L"), picture("RGB"), picture("1"), picture("1")]
    exif = Image.Exif()
    exif[0x0112] = 6
    pages[3].encoderinfo = {"exif": exif}
    pages[0].save(path, save_all=True, append_images=pages[1:])
    assert count_pages(path) == 4
    with open_tiff(path, SETTINGS) as tiff:
        stored = [tiff.page(number) for number in (1, 2, 3, 4)]
    assert [image.extension for image in stored] == ["jpg", "jpg", "tif", "tif"]
    assert [image.size for image in stored] == [(60, 40), (60, 40), (60, 40), (40, 60)]
    grey, colour, bilevel, turned = (decode_image(image.data, max_pixels=LIMIT) for image in stored)
    assert Image.open(io.BytesIO(stored[0].data)).mode == "L"
    assert np.abs(grey[..., 0].astype(int) - np.asarray(pages[0])).max() < 12
    assert np.abs(colour.astype(int) - np.asarray(pages[1])).mean() < 3
    assert np.array_equal(bilevel[..., 0] > 0, np.asarray(pages[2]))
    assert np.array_equal(turned[..., 0] > 0, np.rot90(np.asarray(pages[3]), -1))
    assert len(stored[2].data) < 2000


def test_pages_are_limited_and_must_be_there(tmp_path: Path) -> None:
    path = tmp_path / "x.tif"
    picture().save(path, save_all=True, append_images=[picture()])
    with (
        open_tiff(path, RawSettings(max_pixels=100)) as tiff,
        pytest.raises(DecodeError, match="above the limit"),
    ):
        tiff.page(2)
    with open_tiff(path, SETTINGS) as tiff, pytest.raises(DecodeError, match="TIFF image cannot be decoded"):
        tiff.page(9)


def test_counting(tmp_path: Path) -> None:
    assert count_pages(DATA / "pages/images/pillow-g4-multi.tiff") == 3
    assert count_pages(DATA / "bad/pillow-total-pages-zero.tif") == 3
    assert count_pages(DATA / "bad/pillow-broken.png") == 1
    with pytest.raises(DecodeError, match="Unable to seek to frame"):
        count_pages(DATA / "bad/pillow-seek_too_large.tif")
    for read in (count_pages, read_file):
        with pytest.raises(SourceError, match="file cannot be read: No such file or directory"):
            read(tmp_path / "absent.tif")
