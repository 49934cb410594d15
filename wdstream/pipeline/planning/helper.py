"""A helper process of this one: it gets one object at its start, and ends when this process does, however that ends."""

import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Protocol, TextIO

_NOT_FOR_HELPERS = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


class HelperTask(Protocol):
    """What a helper does; it goes there as a pickle."""

    def run(self, output: TextIO) -> None:
        """In the helper: do it; `output` is the standard output that it was started with."""


def start_helper(
    task: HelperTask, *, stdout: int | None = None, descriptors: Sequence[int] = ()
) -> "subprocess.Popen[bytes]":
    """Start a process that runs a task, with these descriptors of this one.

    It is a new interpreter: a fork would inherit the threads and the GPU of this one, and multiprocessing would run
    the main script again. Its standard input stays open as long as this process lives.

    Raises:
        Exception: the task cannot be pickled.
    """
    data = pickle.dumps(task)
    environment = {name: value for name, value in os.environ.items() if name not in _NOT_FOR_HELPERS}
    paths = [path or str(Path.cwd()) for path in sys.path]
    environment |= {"PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, "-m", __name__],
        stdin=subprocess.PIPE,
        stdout=stdout,
        env=environment,
        pass_fds=descriptors,
        start_new_session=True,  # Ctrl-C is for this process, which ends its helpers
    )
    assert process.stdin is not None
    with suppress(BrokenPipeError):  # it ended at once: whoever waits for it will see
        process.stdin.write(len(data).to_bytes(8, "little") + data)
        process.stdin.flush()
    return process


def run_helper() -> None:
    """In the helper: run the task that it was started with, no longer than the process lives that started it."""
    output = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # a module of the user's that prints does not print among answers
    size = int.from_bytes(sys.stdin.buffer.read(8), "little")
    data = sys.stdin.buffer.read(size)

    def watch() -> None:
        os.read(sys.stdin.fileno(), 1)
        os._exit(0)

    threading.Thread(target=watch, daemon=True).start()
    try:
        task: HelperTask = pickle.loads(data)  # from our own parent, by a pipe nobody else has
    except Exception as error:  # raises whatever the modules of a user's own family raise
        sys.exit(f"wdstream: the plan cannot be taken to another process: {error!r}")
    task.run(output)


def end_helper(process: "subprocess.Popen[bytes]") -> None:
    """End a helper, and wait until it is gone."""
    process.kill()
    if process.stdin is not None:
        process.stdin.close()
    if process.stdout is not None:
        process.stdout.close()
    process.wait()


if __name__ == "__main__":
    run_helper()
