"""data.reading: pages per second by requests open at once, bytes by gaps, from a web server that answers late.

    python tools/bench_reads.py [--late-ms 20] [--pages 324]

Packs of 54 pages of 150 kB, in random order, out of 16 tars. The server is in this process, so its figures are
not those of a network: compare the rows with each other. The defaults are chosen by them: where more requests bring
little more, and gaps cost little.

Exit status 1 when a figure wanted by the project is missed.
"""

import argparse
import random
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from rich.console import Console

from tests.helpers.fake_shards import fake_image, write_shards
from tests.helpers.faulty_proxy import FaultyProxy, spoiling
from tests.helpers.faulty_server import failing
from wanted import Wanted
from wdstream.shards.index import merge_index
from wdstream.shards.reader import Shards
from wdstream.storage.remote import FsspecStorage
from wdstream.storage.settings import ReadSettings

TARS, PAGES_PER_TAR, PAGE_BYTES, PACK = 16, 50, 150_000, 54
OPEN_REQUESTS = (1, 4, 16, 32, 64, 128)
GAPS = (0, 1 << 16, 1 << 18, 1 << 20, 1 << 22)
WANTED_SPEEDUP, WANTED_BYTES = 4.0, 1.15


def write_pages(folder: Path) -> None:
    """Shards of pages of one size."""
    draw = random.Random(1)
    write_shards(
        folder,
        {
            f"s-{tar:02}.tar": {
                f"{tar}/{page:03}": {"jpg": fake_image(9, 9, draw.randbytes(PAGE_BYTES)), "txt": b"a page"}
                for page in range(PAGES_PER_TAR)
            }
            for tar in range(TARS)
        },
    )
    merge_index(folder)


def measure(folder: Path, server: FaultyProxy, reading: ReadSettings, num_pages: int) -> tuple[float, float, float]:
    """Pages per second, bytes sent over bytes of pages, requests per page."""
    shards = Shards.open(folder, FsspecStorage(server.url, reading=reading))
    shards.read_many(range(0, len(shards), PAGES_PER_TAR))  # compares sizes, opens connections
    rows = random.Random(2).sample(range(len(shards)), num_pages)
    server.asked = server.bytes_sent = 0
    begin = time.perf_counter()
    for start in range(0, num_pages, PACK):
        shards.read_many(rows[start : start + PACK])
    seconds = time.perf_counter() - begin
    return num_pages / seconds, server.bytes_sent / num_pages / PAGE_BYTES, server.asked / num_pages


def main() -> int:
    """Measure, print, compare with what is wanted."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--late-ms", type=float, default=20.0, help="before each answer")
    parser.add_argument("--pages", type=int, default=324, help="read for each row")
    options = parser.parse_args()
    wanted = Wanted(Console())
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "shards"
        write_pages(folder)
        with failing(folder, rate=0) as web, spoiling(web.server_address[1], rate=0) as server:
            server.waits = options.late_ms / 1000
            compare(folder, server, options.pages, wanted)
    return 1 if wanted.missed else 0


def compare(folder: Path, server: FaultyProxy, num_pages: int, wanted: Wanted) -> None:
    """Numbers of open requests, then gaps."""
    speeds = {}
    for count in OPEN_REQUESTS:
        speeds[count], _, _ = measure(folder, server, ReadSettings(open_requests=count, max_gap=0), num_pages)
        wanted.console.print(f"open_requests {count:4}: {speeds[count]:6.0f} pages/s")
    speedup = speeds[ReadSettings().open_requests] / speeds[1]
    wanted.check("the default over one request at a time", speedup, WANTED_SPEEDUP, at_least=True)
    for gap in GAPS:
        speed, sent, asked = measure(folder, server, ReadSettings(max_gap=gap), num_pages)
        figures = f"{speed:6.0f} pages/s, {sent:.2f} bytes per byte, {asked:.2f} requests per page"
        wanted.console.print(f"max_gap {gap:8}: {figures}")
        if gap == ReadSettings().max_gap:
            wanted.check("bytes per byte, by default", sent, WANTED_BYTES, at_least=False)


if __name__ == "__main__":
    sys.exit(main())
