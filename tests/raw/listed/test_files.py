from wdstream.raw.listed.files import RawFiles
from wdstream.raw.source import RawFile


def test_files_are_counted_as_they_come() -> None:
    pdf = RawFile(path="a.pdf", kind="pdf", num_bytes=10, num_pages=3, marks=(1, 2), meta=(("page", 1), ("id", "x")))
    image = RawFile(path="b.jpg", kind="image", num_bytes=5, num_pages=1, texts=("b.xml",), near=None, sidecars=())
    files = RawFiles([pdf, image, image])
    assert files == [pdf, image, image]
    assert files[1].sidecars == () and files[0].sidecars is None
    assert (files.kinds, files.num_bytes, files.num_pages) == ({"pdf": 1, "image": 2}, 20, 5)
