"""A sample of somebody's tar gives one page through an index, a stream and single nodes, or one reason.

Spans: shards, make_shards, nodes, pipeline, config.
"""

import io
import json
import shutil
import tarfile
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from PIL import Image

from tests.helpers.command import run
from tests.helpers.paths import DATA
from wdstream.config.build import lanes_from_config
from wdstream.config.schema import load_config
from wdstream.errors import PageError, ShardError
from wdstream.families.base import Family
from wdstream.families.registry import load_family
from wdstream.make_shards import index_folder
from wdstream.nodes.as_page import as_page
from wdstream.nodes.decode import Decode, decode_page
from wdstream.nodes.lane import LaneSettings
from wdstream.nodes.lane_source import LaneSource
from wdstream.nodes.read_tars import ReadTars
from wdstream.nodes.shuffle import Shuffle
from wdstream.pipeline.planned import Plan
from wdstream.pipeline.streamed import Lanes
from wdstream.pixels.header import image_size
from wdstream.records import ImageSegment, Page, Segment, TextSegment, TurnSegment
from wdstream.shards.describe import TarRules
from wdstream.shards.reader import Shards
from wdstream.shards.tar_folder import TarFolder
from wdstream.testing import assert_resumes_exactly
from wdstream.tiling.policy import TilingPolicy

CASES = DATA / "cases" / "tars"
TILING = TilingPolicy(kind="grid", grid=(1, 1), tile_size=56)


@dataclass
class Found:
    """Pages by key, and reasons of what is left out."""

    pages: dict[str, Page] = field(default_factory=dict)
    bad: dict[str, str] = field(default_factory=dict)


def through_index(folder: Path) -> Found:
    report = TarFolder(folder, image_size).index()
    shards = Shards.open(folder)
    pages = [shards.read_page(row) for row in range(len(shards))]
    return Found({page.key: page for page in pages}, {bad.key: bad.reason for _, bad in report.failures})


def through_nodes(folder: Path) -> Found:
    found = Found()
    for sample in ReadTars([str(path) for path in sorted(folder.iterdir()) if path.name.endswith((".tar", ".tar.gz"))]):
        try:
            page = as_page(sample)
            decode_page(sample)
            assert isinstance(page, Page)
            found.pages[page.key] = page
        except PageError as error:
            found.bad[sample.key] = str(error)
    return found


def through_stream(folder: Path, family: Family) -> Found:
    """Chat rows come written out, so only images and keys of those are compared."""
    settings = LaneSettings(
        family=family, tiling=TILING, sequence_length=2048, max_patches=4096, global_batch_size=1, lanes=1, epochs=1
    )
    found = Found()
    urls = [str(path) for path in sorted(folder.iterdir()) if path.name.endswith((".tar", ".tar.gz"))]
    for pack in LaneSource(urls, settings=settings):
        pages = [replace(page.page, key=page.key.partition("/")[2]) for page in pack.pages]
        found.pages |= {page.key: page for page in pages}
        found.bad |= {failure.key.partition("/")[2]: failure.reason for failure in (*pack.bad, *pack.unfit)}
        if not pack.pages:
            break
    return found


@pytest.fixture(scope="module")
def family(tiny_model: Path) -> Family:
    return load_family(tiny_model)


IMAGE = ImageSegment(index=0)
CHAT = (
    TurnSegment(role="user"),
    IMAGE,
    TextSegment(text="\nRead", is_supervised=False),
    TurnSegment(role="assistant", is_plain=True, is_supervised=True),
)


def text_page(text: str) -> tuple[Segment, ...]:
    return IMAGE, TextSegment(text=text)


GOOD: dict[str, dict[str, tuple[Segment, ...] | None]] = {
    "hardlink": {"a": text_page("question one")},
    "symlink": {"a": text_page("question one")},
    "webp_heic": {"c": text_page("jp2 page")},
    "json_text": {"a": text_page("Text of the page"), "b": text_page("Text of b")},
    "json_caption": {"a": text_page("Text of the page")},
    "json_conversations": {"a": None},
    "json_messages_swift": {"a": None},
    "one_based": {"a": None},
    "crlf_bom": {"a": text_page("Line one\nLine two")},
    "placeholder_txt": {"a": text_page("<image>\nText of the page")},
}
BAD: dict[str, dict[str, str]] = {
    "hardlink": {"b": "its part 'png' is a hard link to 'a.png', so its bytes are not in the sample"},
    "symlink": {"b": "its part 'png' is a symbolic link to 'a.png', so its bytes are not in the sample"},
    "webp_heic": {
        "a": "AVIF, PPM; convert it to PNG or JPEG, which the package pillow-jxl-plugin does",
        "b": "not an image: 50 bytes that start with b'000000000000'",
    },
}


@pytest.mark.parametrize("name", GOOD)
def test_cases_that_are_read(name: str, tmp_path: Path, family: Family) -> None:
    folder = Path(shutil.copytree(CASES / name, tmp_path / name))
    tar = (folder / "s-000000.tar").read_bytes()
    indexed, nodes, streamed = through_index(folder), through_nodes(folder), through_stream(folder, family)
    assert (folder / "s-000000.tar").read_bytes() == tar
    assert indexed.pages == nodes.pages
    assert indexed.bad.keys() == nodes.bad.keys() == streamed.bad.keys() == BAD.get(name, {}).keys()
    for key, reason in BAD.get(name, {}).items():
        assert all(reason in found.bad[key] for found in (indexed, nodes, streamed))
    assert indexed.pages.keys() == streamed.pages.keys() == GOOD[name].keys()
    for key, segments in GOOD[name].items():
        page = indexed.pages[key]
        assert page.images == streamed.pages[key].images
        if segments is not None:
            assert page.segments == streamed.pages[key].segments == segments


def test_turns_and_numbered_images(tmp_path: Path) -> None:
    for name in ("json_conversations", "json_messages_swift", "one_based"):
        shutil.copytree(CASES / name, tmp_path / name)
    turns = through_index(tmp_path / "json_conversations").pages["a"].segments
    assert turns[:4] == CHAT
    assert turns == (*CHAT, TextSegment(text="A page"))
    swift = through_index(tmp_path / "json_messages_swift").pages["a"].segments
    assert swift[1:3] == (IMAGE, TextSegment(text="Read", is_supervised=False))
    assert len(through_index(tmp_path / "one_based").pages["a"].images) == 2


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("md", "no text that is read: text is in txt, or in json as 'text', 'caption', 'content', 'messages'"),
        ("two_images", "a page has one image, a row numbers all of its own"),
    ],
)
def test_cases_with_a_reason(name: str, reason: str, tmp_path: Path, family: Family) -> None:
    """Nothing trainable is an error, which says why."""
    folder = Path(shutil.copytree(CASES / name, tmp_path / name))
    with pytest.raises(ShardError, match="no sample of these tars can be used") as refused:
        TarFolder(folder, image_size).index()
    assert reason in str(refused.value)
    assert all(reason in why for why in through_nodes(folder).bad.values())
    assert not through_nodes(folder).pages
    streamed = through_stream(folder, family)
    assert not streamed.pages
    assert all(reason in why for why in streamed.bad.values())


def test_compressed_tars_are_streamed(tmp_path: Path, family: Family) -> None:
    for name in ("gz", "gz_named_tar"):
        folder = Path(shutil.copytree(CASES / name, tmp_path / name))
        with pytest.raises(ShardError, match="compressed"):
            TarFolder(folder, image_size).index()
        assert through_nodes(folder).pages["a"].segments == text_page("A")
        assert through_stream(folder, family).pages["a"].segments == text_page("A")


def test_dotted_and_repeated_keys_in_streams(tmp_path: Path) -> None:
    dotted = str(CASES / "dotted" / "s-000000.tar")
    (sample,) = ReadTars([dotted])
    with pytest.raises(PageError, match="A key whose basename has a dot looks like this"):
        as_page(sample)
    (sample,) = ReadTars([dotted], keys="dotted")
    page = as_page(sample)
    assert (page.key, page.segments) == ("doc.v2", text_page("A"))


def test_dotted_keys_by_the_configuration(tmp_path: Path, tiny_model: Path) -> None:
    shutil.copyfile(CASES / "dotted" / "s-000000.tar", tmp_path / "s.tar")
    path = tmp_path / "run.yaml"
    path.write_text(
        f"model: {{path: {tiny_model}}}\n"
        f"data: {{train: [{{path: {tmp_path}}}], streaming: {{lanes: 1, key_rule: dotted}}, global_batch_size: 1}}\n"
        "tiling: {kind: none}\ntrain: {max_steps: 1}\n"
    )
    lanes = lanes_from_config(load_config(path))
    with lanes.loader() as loader:
        assert set(next(loader)["keys"][0]) == {"s.tar/doc.v2"}
    plain = replace(lanes, settings=lanes.settings.replace(key_rule="webdataset"))
    assert plain.fingerprints != lanes.fingerprints


def png(size: tuple[int, int] = (60, 40)) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, "white").save(file, "PNG")
    return file.getvalue()


def tiff(pages: int) -> bytes:
    file = io.BytesIO()
    images = [Image.new("L", (60, 40), 255)] * pages
    images[0].save(file, "TIFF", save_all=True, append_images=images[1:])
    return file.getvalue()


def jpeg() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (60, 40), "white").save(file, "JPEG")
    return file.getvalue()


KINDS: dict[str, tuple[dict[str, bytes], str]] = {
    "page": ({"JPG": jpeg(), "txt": b"t"}, ""),
    "jpe": ({"jpe": jpeg(), "txt": b"t"}, ""),
    "jfif": ({"jfif": jpeg(), "TXT": b"t"}, ""),
    "mpo": ({"mpo": jpeg(), "txt": b"t"}, ""),
    "bytes": ({"bin": png(), "txt": b"t"}, ""),
    "one-page": ({"tiff": tiff(1), "txt": b"t"}, ""),
    "pages": ({"tif": tiff(2), "txt": b"t"}, "TIFF image has several pages"),
    "heic": ({"heic": b"\0\0\0\x18ftypheic" + bytes(20), "txt": b"t"}, "the package pillow-heif does"),
    "jxl": ({"jxl": b"\xff\x0a" + bytes(20), "txt": b"t"}, "not an image"),
    "pdf": ({"pdf": b"%PDF-1.7\n%\xe2\xe3", "txt": b"t"}, "its pages are drawn by `wdstream make-shards`"),
    "npy": ({"npy": b"\x93NUMPY\x01\0" + bytes(100), "txt": b"t"}, "bytes that are not text"),
    "pyd": ({"pyd": b"\x80\x04\x95" + bytes(10), "txt": b"t"}, "bytes that are not text"),
    "data": ({"data": png(), "jpg": jpeg(), "txt": b"t"}, "a page has one image"),
    "url": ({"url": b"https://example.org/a.jpg", "txt": b"t"}, "names one"),
    "named": ({"json": b'{"file_name": "a.png"}', "txt": b"t"}, "not used"),
    "null": ({"json": b'{"image": null}', "txt": b"t"}, ""),
    "sides": ({"left.jpg": jpeg(), "right.jpg": jpeg(), "txt": b"t"}, "a page has one image"),
    "esc": ({"json": b'{"te\x1b[31mxt": 1}', "jpg": jpeg()}, "json cannot be read"),
}


def test_kinds_of_parts(tmp_path: Path, family: Family) -> None:
    with tarfile.open(tmp_path / "s.tar", "w") as tar:
        for key, (members, _) in KINDS.items():
            for extension, data in members.items():
                info = tarfile.TarInfo(f"{key}.{extension}")
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    indexed, nodes = through_index(tmp_path), through_nodes(tmp_path)
    streamed = through_stream(tmp_path, family)
    for key, (_, reason) in KINDS.items():
        for found in (indexed, nodes, streamed):
            assert (key in found.pages) == (not reason), (key, found.bad.get(key))
            assert not reason or reason in found.bad[key]
    assert indexed.pages == nodes.pages == streamed.pages
    assert all(len(page.images) == (key != "null") for key, page in indexed.pages.items())


def test_all_cases_are_trained_on_at_the_lengths_of_the_index(tmp_path: Path, tiny_model: Path) -> None:
    """The plan counts what the index has; the pack is built from the tar: they agree, or the run would end."""
    for name in GOOD:
        shutil.copyfile(CASES / name / "s-000000.tar", tmp_path / f"{name}.tar")
    report = index_folder(tmp_path, tiny_model, rules=TarRules(prefix_keys=True), workers=1)
    notes = [note for note in report.notes if "are read as" not in note and "is read as" not in note]
    assert notes[0] == "0 of 11 samples have no image"
    assert notes[-1] == (
        "warning: 1 of 10 texts looked at begin with <image>, which stands for an image elsewhere; here the image is a "
        "part of its own, and the mark is trained on as text: take it out of the texts"
    )
    plan = Plan(
        Shards.open(tmp_path),
        load_family(tiny_model),
        TILING,
        sequence_length=2048,
        max_patches=4096,
        global_batch_size=1,
        seed=0,
        epochs=1,
    )
    keys: list[str] = []
    with plan.loader() as loader:
        for _ in range(plan.total_steps() or 0):
            batch = next(loader)
            assert not batch.failures
            keys += [key for pack in batch["keys"] for key in pack]
    assert sorted(keys)[:2] == ["crlf_bom.tar/a", "hardlink.tar/a"]
    assert len(keys) == 11


def test_texts_without_their_images_end_a_stream(tmp_path: Path) -> None:
    for first, second in (("jpg", "txt"), ("txt", "jpg")):
        data = {"jpg": jpeg(), "txt": b"text"}
        with tarfile.open(tmp_path / "s.tar", "w") as tar:
            for extension in (first, second):
                for key in "abc":
                    info = tarfile.TarInfo(f"{key}.{extension}")
                    info.size = len(data[extension])
                    tar.addfile(info, io.BytesIO(data[extension]))
        with pytest.raises(ShardError, match="the image and the text of 'a' are apart"):
            list(ReadTars([str(tmp_path / "s.tar")]))


APART = {
    "folders": ("images/a.jpg", "texts/a.txt"),
    "dot": ("./a.jpg", "a.txt"),
    "windows": ("images\\a.jpg", "a.txt"),
    "case": ("IMG_1.JPG", "img_1.txt"),
    "accents": ("caf\u00e9.jpg", "cafe\u0301.txt"),
    "space": ("a .jpg", "a.txt"),
    "class": ("a.jpg", "a.cls", "b.txt", "a.txt"),
    "metadata": ("a.jpg", "a.meta", "b.txt", "a.json"),
    "bytes": ("a.bin", "b.txt", "a.txt"),
    "numbers": ("a.0.jpg", "b.txt", "a.1.jpg"),
    "words": ("page_1_image.jpg", "page_1_text.txt"),
    "word": ("page_1.jpg", "page_1-caption.txt"),
}


@pytest.mark.parametrize("kind", APART)
def test_parts_under_other_names_or_not_neighbours(kind: str, tmp_path: Path) -> None:
    data = {"jpg": jpeg(), "txt": b"text", "cls": b"1", "bin": jpeg(), "json": b'{"text": "t"}', "meta": b"1"}
    names = APART[kind]
    write(tmp_path / "s.tar", {name: data[name.rpartition(".")[2].lower()] for name in names})
    with pytest.raises(ShardError, match="apart, the other half"):
        TarFolder(tmp_path, image_size).index()
    with pytest.raises(ShardError, match="are apart"):
        list(ReadTars([str(tmp_path / "s.tar")]))
    write(tmp_path / "s.tar", {name: data[name.rpartition(".")[2].lower()] for name in names} | {"z.txt": b"z"})
    report = TarFolder(tmp_path, image_size, TarRules(skip_bad=True)).index()
    kept = {"b", "z"} if "b.txt" in names else {"z"}
    assert {page.key for page in map(Shards.open(report.folder).read_page, range(len(kept)))} == kept


def test_a_file_without_a_suffix_and_what_macos_adds(tmp_path: Path) -> None:
    names = ("a", "a.txt", "b.jpg", "b", "__MACOSX/c.jpg", "x/__MACOSX/._c.jpg", "c.jpg", "c.txt", "README")
    write(tmp_path / "s.tar", {name: b"text" if name.endswith("txt") else jpeg() for name in names})
    indexed, nodes = through_index(tmp_path), through_nodes(tmp_path)
    assert indexed.pages == nodes.pages
    assert set(nodes.pages) == {"c"}
    assert indexed.bad.pop("README") == "files that are in no sample, passed over: 1 without a suffix (README, say)"
    assert indexed.bad.keys() == nodes.bad.keys() == {"a", "b"}
    assert all("without a suffix, could be its image or its text" in found.bad["a"] for found in (indexed, nodes))
    tars = [str(tmp_path / "s.tar")]
    assert_resumes_exactly(lambda: Decode(Shuffle(ReadTars(tars * 2), buffer=3, seed=1), on_error="skip"))
    assert_resumes_exactly(lambda: ReadTars(tars))


def write(path: Path, members: dict[str, bytes]) -> str:
    with tarfile.open(path, "w") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return str(path)


def test_images_and_texts_in_tars_of_their_own_begin_no_stream(tmp_path: Path, family: Family) -> None:
    images = write(tmp_path / "images.tar", {f"{key}.jpg": jpeg() for key in "abc"})
    texts = write(tmp_path / "texts.tar", {f"{key}.txt": b"text" for key in "abc"})
    other = write(tmp_path / "other.tar", {f"{key}.txt": b"text" for key in "xyz"})
    settings = LaneSettings(
        family=family, tiling=TILING, sequence_length=2048, max_patches=4096, global_batch_size=1, lanes=1, epochs=1
    )
    with pytest.raises(ShardError, match=r"images\.tar has images without text and .*texts\.tar texts without image"):
        Lanes(urls=[texts, images], settings=settings).loader()
    below = write(tmp_path / "below.tar", {f"images/{key}.jpg": jpeg() for key in "abc"})
    with pytest.raises(ShardError, match=r"below\.tar has images without text"):
        Lanes(urls=[texts, below], settings=settings).loader()
    with Lanes(urls=[texts, other], settings=settings).loader() as loader:
        batch = next(loader)
    assert (sorted(batch["keys"][0])[:2], batch["without_image"]) == (["other.tar/x", "other.tar/y"], 6)


def test_the_command_refuses_or_leaves_out_and_lists(tmp_path: Path) -> None:
    """Nothing from a tar reaches a terminal raw; the status is 1 where something is refused, 0 where it is left out."""
    escape = "\x1b[31mred"
    write(tmp_path / "s.tar", {"a.png": png(), "a.txt": b"a", f"{escape}.txt": b"t", "b.c.txt": b"t"})
    (tmp_path / "t.tar").write_bytes(b"\x1f\x8b" + bytes(1000))
    refused = run("index", tmp_path)
    assert refused.returncode == 1
    for part in (
        "2 of 2 tars cannot be indexed",
        "2 of 3 samples have bad names",
        "--key dotted",
        "compressed with gzip",
    ):
        assert part in refused.stderr
    done = run("index", tmp_path, "--skip-bad", "--workers", "1")
    assert done.returncode == 0
    assert "0 of 1 samples have no image" in done.stdout
    assert "\x1b" not in refused.stderr + done.stdout + done.stderr
    lines = [json.loads(line) for line in (tmp_path / "index" / "left_out.jsonl").read_text().splitlines()]
    assert [(line["shard"], line["key"]) for line in lines] == [("t.tar", None), ("s.tar", escape), ("s.tar", "b")]


def test_samples_without_image_are_counted(tmp_path: Path, tiny_model: Path) -> None:
    row = json.dumps({"text": "c"}).encode()
    write(tmp_path / "s.tar", {"a.png": png(), "a.txt": b"a", "b.txt": b"b", "c.json": row})
    assert index_folder(tmp_path, tiny_model, workers=1).notes == (
        "2 of 3 samples have no image",
        "of 3 samples looked at, s.tar: 1 row is read as image=png, text=txt",
        "of 3 samples looked at, s.tar: 1 row is read as text=text",
        "of 3 samples looked at, s.tar: 1 row is read as text=txt",
    )
    plan = Plan(Shards.open(tmp_path), load_family(tiny_model), TILING, global_batch_size=1, epochs=1)
    summary = plan.summary(world_size=1)
    assert (summary.samples, summary.without_image) == (3, 2)
