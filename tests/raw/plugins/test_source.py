"""Plugins as sources: functions and classes by --source, and a package that is installed, in processes of their own."""

import io
import json
import sys
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.helpers.raw_pages import read_raw
from wdstream.errors import ConfigError, ShardError
from wdstream.make_shards import MakeShardsOptions, MakeShardsReport, make_shards
from wdstream.raw.plugins.active import plugged_in
from wdstream.raw.plugins.loading import _imported, asked_for
from wdstream.shards.reader import Shards

MODULE = '''
    import json
    from wdstream.errors import PageError
    from wdstream.raw.source import Source

    def read_notes(path):
        """A row for each line; `bad` cannot be read, `worse` ends the file, `bug` is a mistake."""
        for number, line in enumerate(path.read_text().splitlines()):
            if line == "worse":
                raise PageError("the rest of the notes is torn")
            if line == "bug":
                line + 1
            yield PageError("a bad line") if line == "bad" else {"text": line, "image": "page.png", "line": number}

    def read_folder(folder):
        for path in sorted(folder.glob("*.notes")):
            png = (folder / "page.png").read_bytes()
            yield {"__key__": path.stem, "png": png, "txt": path.read_text(), "json": {"from": path.name}}

    def read_nonsense(path):
        yield ["no", "mapping"]

    def read_nothing(path):
        yield None

    def read_growing(path):
        with path.open("a") as file:
            file.write("\\nmore")
        yield from read_notes(path)

    class Notes(Source):
        kind = "whatever"
        suffixes = (".notes",)
        fingerprint = "2"

        def survey(self, path):
            return 1, ()

        def open(self, pages, path, settings):
            from contextlib import nullcontext
            from wdstream.raw.images import store_image
            from wdstream.raw.source import page_of_image

            class Reader:
                def read(self, number):
                    bytes(1 << 44) if path.read_text() == "large" else None
                    image = store_image(path.with_name("page.png").read_bytes(), settings)
                    return page_of_image(pages.file.page_key(number), image, path.read_text(), {})

            return nullcontext(Reader())

    NUMBER = 3
'''


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with a module of plugins, in which the command runs, and raw notes with their image."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "my_notes.py").write_text(textwrap.dedent(MODULE))
    (tmp_path / "raw").mkdir()
    image = io.BytesIO()
    Image.new("L", (20, 30)).save(image, "PNG")
    (tmp_path / "raw/page.png").write_bytes(image.getvalue())
    (tmp_path / "raw/a.notes").write_text("one\nbad\ntwo\nthree")
    (tmp_path / "raw/b.notes").write_text("four\nworse\nfive")
    yield tmp_path
    sys.modules.pop("my_notes", None)
    sys.modules.pop("wd_notes", None)
    _imported.cache_clear()


def make(work: Path, *sources: str, **options: object) -> tuple[MakeShardsReport, dict[str, str]]:
    chosen = MakeShardsOptions.of({"workers": 1, "sources": sources, **options})
    report = make_shards(work / "raw", work / "out", options=chosen)
    assert report.num_pages, report.quarantined
    pages = map(Shards.open(work / "out").read_page, range(report.num_pages))
    return report, {page.key: "".join(getattr(s, "text", "") for s in page.segments) for page in pages}


def test_a_function_reads_files_of_a_suffix_in_processes(work: Path) -> None:
    report, texts = make(work, ".notes=my_notes:read_notes", workers=2, pages_per_shard=2)
    assert texts == {"a@000001": "one", "a@000003": "two", "a@000004": "three", "b@000001": "four"}
    assert [(q.file, q.page, q.reason) for q in report.quarantined if q.file != "page.png"] == [
        ("a.notes", 2, "a bad line"),
        ("b.notes", 2, "the rest of the notes is torn"),
    ]
    manifest = json.loads((work / "out/make-shards.json").read_bytes())["options"]
    assert manifest["sources"] == [".notes=my_notes:read_notes"]
    assert list(manifest["plugins"]) == [".notes=my_notes:read_notes"]
    assert make(work, ".notes=my_notes:read_notes", pages_per_shard=2)[0].pages_made == 0
    (work / "my_notes.py").write_text(textwrap.dedent(MODULE) + "\n# changed\n")
    with pytest.raises(ConfigError, match=r"plugins was \{'\.notes=my_notes:read_notes': .*\}, is \{"):
        make(work, ".notes=my_notes:read_notes", pages_per_shard=2)


def test_a_function_reads_all_of_raw(work: Path) -> None:
    report, texts = make(work, "my_notes:read_folder")
    assert texts == {"read_folder@000001": "one\nbad\ntwo\nthree", "read_folder@000002": "four\nworse\nfive"}
    assert not report.quarantined
    page = Shards.open(work / "out").read_page(1)
    assert page.meta == {"source": ".", "sample": "b", "from": "b.notes"}
    (work / "raw/b.notes").write_text("changed")
    with pytest.raises(ConfigError, match="input was"):
        make(work, "my_notes:read_folder")
    assert make(work, "my_notes:read_folder", retry_quarantined=True)[1]["read_folder@000002"] == "changed"
    with pytest.raises(ConfigError, match="both read all of RAW"):
        make(work, "my_notes:read_folder", "my_notes:read_nonsense", overwrite=True)


def test_a_class_says_what_it_reads(work: Path) -> None:
    with plugged_in(["my_notes:Notes"]):
        found = read_raw(work / "raw")
    assert found.texts == {"a@0001": "one\nbad\ntwo\nthree", "b@0001": "four\nworse\nfive"}


def test_a_page_that_needs_too_much_memory_is_no_mistake_of_the_plugin(work: Path) -> None:
    (work / "raw/c.notes").write_text("large")
    report, texts = make(work, "my_notes:Notes")
    assert texts.keys() == {"a@0001", "b@0001"}
    reasons = {entry.file: entry.reason for entry in report.quarantined}
    assert "needs more memory than the limit" in reasons["c.notes"]


def test_mistakes_are_one_message_with_their_place(work: Path) -> None:
    (work / "raw/c.notes").write_text("x\nbug\n")
    message = (
        r"source '\.notes=my_notes:read_notes' has a mistake, met at c\.notes: TypeError: .* \(my_notes\.py line 12, "
    )
    with pytest.raises(ShardError, match=message):
        make(work, ".notes=my_notes:read_notes")
    with pytest.raises(
        ShardError, match=r"met at a\.notes: TypeError: row 1 is list; a mapping, or a PageError, expected"
    ):
        make(work, ".notes=my_notes:read_nonsense", overwrite=True)
    for name, expected in (
        ("nothing", "row 1 is NoneType; a mapping"),
        ("growing", "a.notes: ValueError: it gave 5 rows when they were counted, and gives more now"),
    ):
        with plugged_in([f".notes=my_notes:read_{name}"]), pytest.raises(ConfigError, match=expected):
            read_raw(work / "raw")
    for name, expected in (
        ("my_notes:nothing", r"at my_notes:nothing cannot be imported: AttributeError"),
        ("no_module:read", r"cannot be imported: ModuleNotFoundError: No module named 'no_module'"),
        ("my_notes:NUMBER", r"is int; a subclass of Source, or a function"),
        ("nothing", r"expected module:name, .*; offered are: none"),
    ):
        with pytest.raises(ConfigError, match=expected):
            make(work, name)


def test_sources_that_would_not_be_asked_are_refused(work: Path) -> None:
    for names, message in (
        ((".notes=my_notes:read_notes", ".Notes=my_notes:read_nothing"), r"both read files that end in \.notes"),
        ((".notes=my_notes:read_notes", "my_notes:Notes"), r"both read files that end in \.notes"),
        (
            (".notes=my_notes:read_notes", "my_notes:read_folder"),
            r"'my_notes:read_folder' reads all of RAW, so that no",
        ),
    ):
        with pytest.raises(ConfigError, match=message), plugged_in(names):
            pass
    with plugged_in((".notes=my_notes:read_notes", ".notes=my_notes:read_notes", ".txt=my_notes:read_notes")):
        pass


def test_the_fingerprint_is_of_the_module_that_is_named(work: Path) -> None:
    """A partial is of functools, and what is built in has no file."""

    def fingerprint(name: str) -> str:
        _imported.cache_clear()
        return asked_for([f".notes={name}"])[0].fingerprint()

    module = work / "my_notes.py"
    module.write_text(f"from functools import partial\n{textwrap.dedent(MODULE)}\npart = partial(read_notes)\n")
    before = [fingerprint("my_notes:part"), fingerprint("my_notes:read_notes")]
    assert fingerprint("os:listdir") == fingerprint("os:getcwd") not in before
    module.write_text(f"{module.read_text()}\n# changed\n")
    assert before[0] != fingerprint("my_notes:part") and before[1] != fingerprint("my_notes:read_notes")


def install(work: Path, entry_points: str) -> None:
    """A package as pip leaves one: a module, and its metadata next to it."""
    (work / "site/wd_notes-1.5.dist-info").mkdir(parents=True, exist_ok=True)
    (work / "site/wd_notes.py").write_text(textwrap.dedent(MODULE))
    (work / "site/wd_notes-1.5.dist-info/METADATA").write_text("Metadata-Version: 2.1\nName: wd-notes\nVersion: 1.5\n")
    (work / "site/wd_notes-1.5.dist-info/entry_points.txt").write_text(f"[wdstream.sources]\n{entry_points}\n")
    if str(work / "site") not in sys.path:
        sys.path.append(str(work / "site"))


def test_an_installed_package_reads_its_suffix_unasked(work: Path) -> None:
    install(work, "notes = wd_notes:read_notes\nother = wd_missing:read")
    report, texts = make(work)
    assert list(texts.values()) == ["one", "two", "three", "four"]
    assert report.pages == {"plugin notes": 4}
    (work / "raw/x.other").write_text("")
    with pytest.raises(ConfigError, match=r"source 'other' at wd_missing:read cannot be imported"):
        make(work, overwrite=True)


def test_an_installed_package_takes_a_suffix_of_ours_where_it_is_asked_for(work: Path) -> None:
    install(work, "png = wd_notes:read_nonsense")
    assert {file.kind for file in read_raw(work / "raw").listing.files} == {"image"}
    for names, kind in (((), "image"), (("png",), "plugin png")):
        with plugged_in(names):
            kinds: set[Any] = {file.kind for file in list_kinds(work / "raw")}
            assert kinds == {kind}


def list_kinds(raw: Path) -> Sequence[Any]:
    from wdstream.raw.listing import list_files

    return list_files(raw).files
