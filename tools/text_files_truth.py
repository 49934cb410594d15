"""Are labels from ALTO, hOCR and PAGE XML what another program reads in the same files?

Takes a folder of such files, as the test suites of OCR programs have them, puts a blank page of the right size next to
each, makes shards of all by make-shards, and compares the labels, line by line, with what a command prints for a file:

    python tools/text_files_truth.py SUITE [--reference 'alto=alto-tools -t {}'] [--reference 'hocr=hocr-lines {}']

Without one, it is tools/text_reference.py. `{}` is the file. Spaces at both ends of lines and empty lines do not count,
nor does the form of a letter that wdstream writes in one only (ligatures). Files that have the same lines in another
order are counted apart: a reference may not know the reading order. Of files that are refused the reason is printed.
Exits with 1 when a label differs.
"""

import argparse
import difflib
import shlex
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from wdstream.errors import SourceError
from wdstream.make_shards import MakeShardsOptions, make_shards
from wdstream.raw.texts.formats import format_of, read_markup
from wdstream.records import TextSegment
from wdstream.shards.reader import Shards
from wdstream.text.characters import normalise_text

FORMATS = ("alto", "hocr", "page")
SUFFIXES = (".xml", ".hocr", ".html", ".htm")
MOST_PIXELS = 20_000_000
SHOWN = 12
OWN = f"{shlex.quote(sys.executable)} {shlex.quote(str(Path(__file__).with_name('text_reference.py')))} {{}}"


@dataclass(frozen=True, slots=True, kw_only=True)
class TextFile:
    """A file of a suite: its format, its number in the raw folder, and how many pages it has."""

    path: Path
    markup: str
    number: int
    num_pages: int


def collect(suite: Path, raw: Path) -> tuple[list[TextFile], list[str]]:
    """Copy the files of a suite to a raw folder, each next to its blank image; also returns why others are none."""
    found: list[TextFile] = []
    refused: list[str] = []
    for path in sorted(path for path in suite.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file()):
        data = path.read_bytes()
        markup = format_of(data)[0]
        if markup not in FORMATS:
            continue
        try:
            pages = read_markup(data)
        except SourceError as error:
            refused.append(f"{path.relative_to(suite)}: {error}")
            continue
        file = TextFile(path=path, markup=markup, number=len(found), num_pages=len(pages))
        found.append(file)
        name = f"{file.number:05d}"
        (raw / f"{name}{path.suffix.lower()}").write_bytes(data)
        draw([page.extent or (1000.0, 1400.0) for page in pages], raw / f"{name}.tif")
    return found, refused


def draw(sizes: Sequence[tuple[float, float]], path: Path) -> None:
    """A blank TIFF with pages of these sizes, shrunk where they are too large."""
    pages = []
    for width, height in sizes:
        shrink = max(1.0, (width * height / MOST_PIXELS) ** 0.5)
        pages.append(Image.new("1", (max(1, round(width / shrink)), max(1, round(height / shrink))), 1))
    pages[0].save(path, save_all=True, append_images=pages[1:], compression="group4")


def labels(shards: Path) -> Mapping[int, list[str]]:
    """The lines of the labels of each file, in order of its pages."""
    found: dict[int, list[str]] = {}
    reader = Shards.open(shards)
    pages = [reader.read_page(row) for row in range(len(reader))]
    for page in sorted(pages, key=lambda page: page.key):
        text = "".join(segment.text for segment in page.segments if isinstance(segment, TextSegment))
        found.setdefault(int(page.key[:5]), []).extend(lines_of(text))
    return found


def lines_of(text: str) -> list[str]:
    """The lines of a text that are not empty, with single spaces."""
    return [line for line in (" ".join(line.split()) for line in text.replace("\f", "\n").split("\n")) if line]


def reference(command: str, path: Path) -> list[str]:
    """The lines that a command prints for a file."""
    words = [word.replace("{}", str(path)) for word in shlex.split(command)]
    done = subprocess.run(words, capture_output=True, check=False)
    if done.returncode:
        raise SystemExit(f"{shlex.join(words)} failed: {done.stderr.decode(errors='replace')[-500:]}")
    return lines_of(normalise_text(done.stdout.decode()))


def differences(suite: Path, files: Sequence[TextFile], commands: Mapping[str, str], shards: Path) -> Iterator[str]:
    """What differs, file by file; counts of what was compared come last."""
    found = labels(shards)
    counts: Counter[str] = Counter()
    for file in files:
        expected, actual = reference(commands.get(file.markup, OWN), file.path), found.get(file.number, [])
        counts[f"{file.markup} files"] += 1
        counts[f"{file.markup} pages"] += file.num_pages
        counts[f"{file.markup} lines"] += len(expected)
        if expected != actual and sorted(expected) == sorted(actual):
            counts[f"{file.markup} files in another order"] += 1
        elif expected != actual:
            counts[f"{file.markup} files that differ"] += 1
            diff = [*difflib.unified_diff(expected, actual, "reference", "label", lineterm="", n=0)][2:]
            yield "\n  ".join([f"{file.path.relative_to(suite)}: {len(diff)} lines of difference", *diff[:SHOWN]])
    print(", ".join(f"{count:,} {name}" for name, count in sorted(counts.items())))


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare, and print; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("suite", type=Path)
    parser.add_argument("--reference", action="append", default=[], help="FORMAT=COMMAND; may be repeated")
    chosen = parser.parse_args(arguments)
    commands = dict(item.split("=", 1) for item in chosen.reference)
    with tempfile.TemporaryDirectory() as folder:
        raw, shards = Path(folder) / "raw", Path(folder) / "shards"
        raw.mkdir()
        files, refused = collect(chosen.suite, raw)
        print("\n".join(f"refused: {line}" for line in refused))
        if not files:
            print("nothing to compare")
            return 1
        report = make_shards(raw, shards, options=MakeShardsOptions(keep_empty=True, workers=2))
        print(f"{report.num_pages:,} pages, {report.num_quarantined:,} quarantined: {dict(report.reasons())}")
        found = [*differences(chosen.suite, files, commands, shards)]
    print("\n".join(found))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
