"""One process of make-shards, `python -m wdstream.make_shards.worker_main`: jobs on stdin, messages on stdout, as JSON.

It names each page before it reads it, so that a page that kills it is known. It dies with the process that
started it: a thread waits for more jobs, and the end of stdin ends everything at once.
"""

import contextlib
import json
import os
import queue
import resource
import signal
import sys
import threading
import traceback
from dataclasses import asdict
from pathlib import Path
from typing import TextIO

from wdstream.errors import PageError, WdstreamError
from wdstream.make_shards.build import ShardBuilder, survey_files
from wdstream.make_shards.jobs import Job, Setup, WorkerMessage
from wdstream.make_shards.options import MakeShardsOptions


def serve() -> None:
    """Do the jobs that come on stdin, until it ends."""
    # A library that prints must not speak in between: stdout becomes stderr, and messages keep the pipe.
    messages = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # an interrupt from the keyboard is for the parent to handle
    setup: Setup = json.loads(sys.stdin.readline())
    raw, out, options = Path(setup["raw"]), Path(setup["out"]), MakeShardsOptions.of(setup["options"])
    _limit_memory(options.memory_limit_mb)
    jobs: queue.SimpleQueue[str] = queue.SimpleQueue()
    threading.Thread(target=_receive, args=(jobs,), daemon=True).start()
    _send(messages, {"ready": True})

    def on_page(item: int, page: int | None) -> None:
        _send(messages, {"at": (item, page)})

    builder = ShardBuilder(raw, out, options, on_page)
    while True:
        job = Job.from_json(json.loads(jobs.get()))
        try:
            if job.kind == "survey":
                _send(messages, {"done": [asdict(file) for file in survey_files(job, raw, on_page)]})
            else:
                builder.build(job)
                _send(messages, {"done": None})
        except OSError as error:  # reading errors are caught where they happen; this one is the output's
            name = Path(str(error.filename or out)).name
            _send(messages, {"fatal": f"cannot write {name}: {error.strerror or error}"})
        except WdstreamError as error:
            _send(messages, {"bug": str(error)} if isinstance(error, PageError) else {"fatal": str(error)})
        except Exception:
            _send(messages, {"bug": traceback.format_exc()})


def _receive(jobs: "queue.SimpleQueue[str]") -> None:
    for line in sys.stdin:
        jobs.put(line)
    os._exit(1)  # at once, in the middle of a page: nobody waits for the result any more


def _send(messages: TextIO, message: WorkerMessage) -> None:
    messages.write(json.dumps(message) + "\n")
    messages.flush()


def _limit_memory(limit_mb: int) -> None:
    with contextlib.suppress(ValueError, OSError):  # a system that cannot limit the address space runs without
        resource.setrlimit(resource.RLIMIT_AS, (limit_mb << 20, limit_mb << 20))


if __name__ == "__main__":
    serve()
