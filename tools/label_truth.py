"""An independent judge of labels: are the words of a label in its picture, and the words of the picture in its label?

    python tools/label_truth.py DATA [--sample 200 --seed 0] [--worst 20 --html worst.html] [--json truth.json]
    timeout --preserve-status 600 python tools/label_truth.py DATA --pages pages.txt --workers 2

DATA is a folder of indexed shards, or of raw pages, of which shards are made first as `wdstream make-shards --dpi 200`
does. The stored picture of each page is read by an OCR engine (tesseract, as a process), which knows nothing of PDFs.

precision   share of the label's words that the picture shows. A label that says what cannot be seen, or says it in
            wrong letters, loses here. A word may differ from what was read in about a quarter of its letters, be split
            or joined, and be anywhere on the page; words of one letter do not count (why: truth/words.py, match.py).
recall      share of the words that the engine read with confidence 60 or more which the label has. A label that lacks
            drawn text loses here; so do pictures with text in them, which no text layer has.
order       share of the matched words that label and reading have in the same order (longest common subsequence). The
            engine's own order of columns and tables is a guess: below 0.9 look at the page.

The engine errs, too: about 1 word in 100 of clean print is not in any view, more in formulas, tables of numbers and
scripts other than Latin. So a figure is read next to the worst pages, by a person: --html shows them side by side.
Not judged, but counted: rows of several images or texts, chats, pages without text, and rows of a JSONL file, whose
text may be a caption (--captions judges them, too). Exit status 1 when a script that --wanted names is below its share.

Pages are judged in the order of a hash. When the judge is stopped (Ctrl-C, SIGTERM, `timeout`) it reports what it has,
which is then a random part of the pages, and the exit status is 130; a second stop ends it at once.
"""

import argparse
import json
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import asdict
from fnmatch import fnmatchcase
from hashlib import sha256
from pathlib import Path

from rich.console import Console

from truth.ocr import Engine
from truth.page import PageTruth, judge_page
from truth.report import (
    SORTS,
    figures_by_script,
    page_as_json,
    pages_html,
    print_figures,
    print_so_far,
    print_worst,
    worst,
)
from truth.words import language_of, words_of
from wdstream.errors import ConfigError, PageError, WdstreamError
from wdstream.make_shards import MakeShardsOptions, make_shards
from wdstream.records import ImageSegment, Page, TextSegment
from wdstream.report.progress import ProgressBar
from wdstream.shards.catalog import INDEX_FOLDER
from wdstream.shards.reader import Shards
from wdstream.storage.atomic import write_file
from wdstream.text.characters import one_line

DPI = 200
STOPPED = 130
FIGURES_EVERY = 25
"""Pages after which the figures so far are said again."""


class Stop(Exception):
    """Somebody wants the judge to end now; raised in the main thread by a signal."""


def main(argv: Sequence[str] | None = None) -> int:
    """Judge DATA; exit status 1 when a wanted precision is missed, 2 when it cannot be judged."""
    args = _arguments(argv)
    console = Console()
    try:
        engine = Engine(args.cache)
        with tempfile.TemporaryDirectory(prefix="label-truth-") as scratch:
            shards = Shards.open(_shards(args.data, Path(scratch), console, args.workers))
            rows = sample(shards, args.sample, args.seed, listed(shards, args.pages) if args.pages else None)
            judged, skipped = judge(shards, rows, engine, console, workers=args.workers, captions=args.captions)
            return _report(args, shards, judged, skipped, len(rows), console)
    except WdstreamError as error:
        print(f"label_truth: {one_line(str(error))}", file=sys.stderr)
        return 2


def sample(shards: Shards, count: int | None, seed: int, among: Sequence[int] | None = None) -> list[int]:
    """`count` rows, of all or of `among`, in the order of a hash of seed and key: independent of where a page is."""
    rows = range(len(shards)) if among is None else among
    return sorted(rows, key=lambda row: sha256(f"{seed}|{shards.key(row)}".encode()).digest())[:count]


def listed(shards: Shards, file: Path) -> list[int]:
    """The rows whose keys a list has: a key a line, or a pattern of keys (`lilypond-doc/*`); `#` begins a remark.

    Raises:
        ConfigError: the list cannot be read or has no line, or a line has no page.
    """
    try:
        lines = [line.strip() for line in file.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"--pages {file}: cannot be read: {error}") from error
    wanted = dict.fromkeys(line for line in lines if line and not line.startswith("#"))
    rows_of = {shards.key(row): row for row in range(len(shards))}
    found: set[int] = set()
    unknown = [] if wanted else ["no line"]
    for line in wanted:
        rows = [rows_of[line]] if line in rows_of else [row for key, row in rows_of.items() if fnmatchcase(key, line)]
        found.update(rows)
        unknown += [] if rows else [line]
    if unknown:
        raise ConfigError(f"--pages {file}: keys or patterns of keys expected; without a page: {', '.join(unknown)}")
    return sorted(found)


def judge(
    shards: Shards, rows: Sequence[int], engine: Engine, console: Console, *, workers: int = 2, captions: bool = False
) -> tuple[list[PageTruth], Counter[str]]:
    """The verdicts in order of rows, and how many rows are not judged, by reason; both of fewer rows when stopped."""

    def verdict(row: int) -> PageTruth | str:
        found = judgeable(shards, row, captions=captions)
        if isinstance(found, str):
            return found
        key, picture, text = found
        language = language_of(text)
        lacking = engine.lacking(language)
        if lacking:
            return f"no language data for {', '.join(lacking)}: apt-get install tesseract-ocr-..."
        return judge_page(key, text, lambda name, view: engine.read(picture, name, view), language)

    found: dict[int, PageTruth | str] = {}
    pool = ThreadPoolExecutor(workers)
    try:
        with ProgressBar(console) as bar, _stopped_by_signals():
            number_of: dict[Future[PageTruth | str], int] = {pool.submit(verdict, row): row for row in rows}
            for done, future in enumerate(as_completed(number_of), start=1):
                found[number_of[future]] = future.result()
                bar.show("reading pictures", done, len(rows), unit="pages")
                if done % FIGURES_EVERY == 0:
                    print_so_far([page for page in found.values() if isinstance(page, PageTruth)], console)
    except Stop:
        console.print(f"stopped: {len(found)} of {len(rows)} pages were looked at, the figures are of these")
    finally:
        engine.stop()
        pool.shutdown(cancel_futures=True)
    results = [found[row] for row in sorted(found)]
    skipped = Counter(result for result in results if isinstance(result, str))
    return [result for result in results if isinstance(result, PageTruth)], skipped


@contextmanager
def _stopped_by_signals() -> Iterator[None]:
    """Ctrl-C and SIGTERM raise `Stop` in the block, once; then they do again what they did before."""

    def stop(number: int, frame: object) -> None:
        for name, handler in before.items():
            signal.signal(name, handler)
        raise Stop

    before = {name: signal.signal(name, stop) for name in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)


def judgeable(shards: Shards, row: int, *, captions: bool = False) -> tuple[str, bytes, str] | str:
    """Key, picture and label of a row that is one image followed by one text, or why it is not judged."""
    [page] = shards.read_pages([row])
    if isinstance(page, PageError):
        return "damaged"
    match page:
        case Page(segments=(ImageSegment(), TextSegment(text=text))):
            if not captions and "line" in page.meta:
                return "a row of a JSONL file: its text may be a caption"
            return (page.key, page.images[0], text) if words_of(text).words else "label without words of two letters"
        case Page(segments=(ImageSegment(),)):
            return "no text"
    return "a row or chat, not a page"


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder of indexed shards, or of raw pages")
    parser.add_argument("--sample", type=int, help="judge only this many pages, chosen by --seed")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--pages", type=Path, help="file with the pages to judge, a key or a pattern of keys a line")
    parser.add_argument("--captions", action="store_true", help="judge rows of JSONL files, too")
    parser.add_argument("--workers", type=int, default=2, help="pictures read at a time, a process each")
    parser.add_argument("--worst", type=int, default=20, help="pages listed and shown")
    parser.add_argument("--by", choices=[*SORTS], default="precision", help="what the worst pages are worst in")
    parser.add_argument("--html", type=Path, help="file for pictures and texts of the worst pages side by side")
    parser.add_argument("--json", type=Path, help="file for all figures")
    parser.add_argument("--cache", type=Path, help="folder that keeps what was read, for judging again")
    parser.add_argument(
        "--wanted", action="append", default=[], metavar="SCRIPT=SHARE", help="least precision, such as Latin=0.98"
    )
    return parser.parse_args(argv)


def _shards(data: Path, scratch: Path, console: Console, workers: int) -> Path:
    """The shards of DATA, made in `scratch` where it has raw pages."""
    if not data.is_dir():
        raise ConfigError(f"{data}: no such folder; give indexed shards or raw pages")
    if (data / INDEX_FOLDER).is_dir():
        return data
    made = make_shards(data, scratch / "shards", options=MakeShardsOptions(dpi=DPI, workers=workers))
    made.print(console)
    return scratch / "shards"


def _report(
    args: argparse.Namespace,
    shards: Shards,
    judged: list[PageTruth],
    skipped: Counter[str],
    asked: int,
    console: Console,
) -> int:
    figures = figures_by_script(judged)
    shown = worst(judged, args.worst, args.by)
    is_whole = len(judged) + skipped.total() == asked
    print_worst(shown, console)
    print_figures(figures, console)
    for reason, count in sorted(skipped.items()):
        console.print(f"not judged: {count}, {reason}", markup=False)
    if args.json:
        everything = {
            "is_whole": is_whole,
            "by_script": {script: asdict(of) for script, of in figures.items()},
            "not_judged": dict(sorted(skipped.items())),
            "pages": [page_as_json(page) for page in judged],
        }
        write_file(args.json, (json.dumps(everything, ensure_ascii=False, indent=1) + "\n").encode())
    if args.html:
        write_file(args.html, pages_html(shown, lambda key: _picture(shards, key)).encode("utf-8", "replace"))
    missed = [*_missed(args.wanted, {script: of.precision for script, of in figures.items()})]
    for line in missed:
        console.print(f"MISSED {line}", markup=False)
    return (1 if missed else 0) if is_whole else STOPPED


def _picture(shards: Shards, key: str) -> bytes:
    row = shards.find(key)
    assert row is not None, key
    return shards.read_page(row).images[0]


def _missed(wanted: Sequence[str], precision: dict[str, float]) -> Iterator[str]:
    """The scripts whose precision is below what is wanted; a script without a page is missed, too."""
    for entry in wanted:
        script, _, share = entry.partition("=")
        try:
            limit = float(share)
        except ValueError:
            raise ConfigError(f"--wanted {entry}: SCRIPT=SHARE expected, such as Latin=0.98") from None
        if script not in precision:
            yield f"{script}: no page judged"
        elif precision[script] < limit:
            yield f"{script}: precision {precision[script]:.4f}, wanted {limit}"


if __name__ == "__main__":
    sys.exit(main())
