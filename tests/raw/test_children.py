"""Processes that are stopped before they run their program."""

import os
import signal
import subprocess
import sys

from wdstream.raw.children import killed_if_stopped

WAITS = [sys.executable, "-c", "print('here')"]


def test_a_process_that_is_stopped_between_fork_and_exec_is_killed() -> None:
    with killed_if_stopped(0.2):
        process = subprocess.Popen(WAITS, preexec_fn=lambda: os.kill(os.getpid(), signal.SIGSTOP))
    assert process.wait() == -signal.SIGKILL


def test_a_process_that_runs_its_program_is_left_alone_when_it_is_stopped() -> None:
    with killed_if_stopped(0.2):
        process = subprocess.Popen(WAITS, stdout=subprocess.PIPE)
        os.kill(process.pid, signal.SIGSTOP)
        with_time_over = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1)"])
        assert with_time_over.wait() == 0
    assert process.poll() is None
    os.kill(process.pid, signal.SIGCONT)
    assert process.communicate()[0] == b"here\n"
