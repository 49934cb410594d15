"""A parent knows the page that a process is at, also when it was killed there."""

import os
import signal
import subprocess
import sys

from wdstream.make_shards.engines.page_cell import PageCell

PROGRAM = """
import sys, time
from wdstream.make_shards.engines.page_cell import inherited_cell
cell = inherited_cell(sys.argv[1])
for page in range(1, 1001):
    cell.turn_to(3, page, is_page=True)
cell.turn_to(4, None, is_page=False)
cell.turn_to(4, 7, is_page=True)
cell.turn_to(4, 7, is_page=True)
print("there", flush=True)
time.sleep(600)
"""


def test_a_killed_process_leaves_where_it_was() -> None:
    cell = PageCell()
    assert (cell.at, cell.counts) == (None, (0, 0))
    command = [sys.executable, "-c", PROGRAM, str(cell.descriptor)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, pass_fds=[cell.descriptor]) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"there\n"
        os.kill(process.pid, signal.SIGKILL)
    assert (cell.at, cell.counts) == ((4, 7), (1003, 1001))  # a sign of life is not another page
    cell.clear()
    assert (cell.at, cell.counts) == (None, (1003, 1001))
    cell.close()


def test_places() -> None:
    cell = PageCell()
    for place in ((0, None), (0, 0), (0, 1), ((1 << 31) - 2, (1 << 32) - 2), (5, None)):
        cell.turn_to(*place, is_page=False)
        assert cell.at == place
    assert cell.counts == (5, 0)
    cell.close()


def test_pages_are_counted_once_in_each_job() -> None:
    cell = PageCell()
    for _ in range(2):
        cell.begin()
        cell.turn_to(0, 1, is_page=True)
        cell.turn_to(0, 1, is_page=True)
    assert cell.counts == (4, 2)
    cell.close()
