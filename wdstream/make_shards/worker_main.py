"""One process of make-shards, started by process.py: jobs on stdin, messages on stdout, as JSON.

It writes down each page before it reads it (`PageCell`; its descriptor is the argument), so that a page that kills it
is known, and says every second that it runs, so that one that was stopped is noticed. It dies with the process that
started it: a thread waits for more jobs, and the end of stdin ends everything at once.
"""

import contextlib
import errno
import gc
import json
import os
import queue
import resource
import sys
import threading
import time
import traceback
from contextlib import ExitStack
from pathlib import Path
from typing import TextIO

from wdstream.errors import PageError, WdstreamError
from wdstream.make_shards.build import GivingUp, ShardBuilder, survey_files
from wdstream.make_shards.jobs import Job, PageCell, Setup, WorkerMessage, inherited_cell
from wdstream.make_shards.options import MakeShardsOptions
from wdstream.make_shards.stores.output import send_shard
from wdstream.raw.reading import sign_of_life
from wdstream.raw.remote.access import raw_folder
from wdstream.storage.places import open_place
from wdstream.storage.processes import ignore_interrupts

_SIGN_OF_LIFE_S = 1.0
_TOLD_AT_ONCE = 64
"""Pages that a process tells one by one, for jobs of a few; then it does so when the last message is a while ago."""
_BETWEEN_MESSAGES_S = 0.05


class Messages:
    """The way to the parent; two threads write to it."""

    def __init__(self, pipe: TextIO) -> None:
        self._pipe = pipe
        self._lock = threading.Lock()

    def send(self, message: WorkerMessage) -> None:
        """One line; the process ends when nobody reads it any more."""
        with self._lock:
            try:
                self._pipe.write(json.dumps(message) + "\n")
                self._pipe.flush()
            except OSError:
                os._exit(1)


class _Pages:
    """Writes down each page, and tells the parent of them now and then."""

    def __init__(self, cell: PageCell, messages: Messages) -> None:
        self._cell, self._messages = cell, messages
        self._told_at = 0.0
        self._told = 0
        self.job: Job | None = None

    def begin(self, job: Job) -> None:
        """Nothing of this job has begun yet."""
        self.job = job
        self._cell.begin()

    def on_page(self, item: int, page: int | None) -> None:
        """Write down a page, as `OnPage` has it, and tell the parent unless it heard a moment ago."""
        assert self.job is not None
        self._cell.turn_to(item, page, is_page=page is not None or self.job.kind == "survey")
        now = time.monotonic()
        if self._told < _TOLD_AT_ONCE or now - self._told_at >= _BETWEEN_MESSAGES_S:
            self._told, self._told_at = self._told + 1, now
            self._messages.send({"pages": True})


def serve() -> None:
    """Do the jobs that come on stdin, until it ends."""
    # A library that prints must not speak in between: stdout becomes stderr, and messages keep the pipe.
    messages = Messages(os.fdopen(os.dup(1), "w", encoding="utf-8"))
    os.dup2(2, 1)
    ignore_interrupts()
    setup: Setup = json.loads(sys.stdin.readline())
    life = ExitStack()  # for as long as the process lives
    raw, out, options = _raw_pages(setup, life), Path(setup["out"]), MakeShardsOptions.of(setup["options"])
    _limit_memory(options.memory_limit_mb)
    jobs: queue.SimpleQueue[str] = queue.SimpleQueue()
    threading.Thread(target=_receive, args=(jobs,), daemon=True).start()
    threading.Thread(target=_say_alive, args=(messages,), daemon=True).start()
    messages.send({"ready": True})
    pages = _Pages(inherited_cell(sys.argv[1]), messages)
    builder: ShardBuilder | None = None
    store = open_place(setup["store"]) if setup["store"] else None
    gc.freeze()  # to look for garbage among all that was imported takes as long as some hundreds of small images
    while True:
        job = Job.from_json(json.loads(jobs.get()))
        pages.begin(job)
        try:
            if job.kind == "survey":
                messages.send({"done": [*survey_files(job, raw, pages.on_page, options)]})
                continue
            builder = builder or ShardBuilder(raw, out, options, pages.on_page)
            (builder.build if job.kind == "shard" else builder.keep)(job)
            if job.kind == "shard" and store is not None:
                send_shard(store, out, job.number)
            messages.send({"done": None})
        except GivingUp as given_up:
            messages.send({"lost": str(given_up)})
            os._exit(0)  # full of whatever filled it
        except (MemoryError, OSError) as error:  # those of reading are caught where they happen; this is the output's
            if isinstance(error, MemoryError) or error.errno == errno.ENOMEM:
                messages.send({"lost": f"needs more memory than the limit of {options.memory_limit_mb} MiB"})
                os._exit(0)
            name = Path(str(error.filename or out)).name
            messages.send({"fatal": f"cannot write {name}: {error.strerror or error}"})
        except WdstreamError as error:
            messages.send({"bug": str(error)} if isinstance(error, PageError) else {"fatal": str(error)})
        except Exception:
            messages.send({"bug": traceback.format_exc()})


def _raw_pages(setup: Setup, life: ExitStack) -> Path:
    """The raw folder, with the plugins that its files need."""
    if setup["plugins"]:
        from wdstream.raw.plugins.active import plugged_in

        life.enter_context(plugged_in(setup["plugins"]))
    return life.enter_context(raw_folder(setup["raw"], on_wait=sign_of_life))


def _receive(jobs: "queue.SimpleQueue[str]") -> None:
    for line in sys.stdin:
        jobs.put(line)
    os._exit(1)  # at once, in the middle of a page: nobody waits for the result any more


def _say_alive(messages: Messages) -> None:
    while True:
        time.sleep(_SIGN_OF_LIFE_S)
        messages.send({"alive": True})


def _limit_memory(limit_mb: int) -> None:
    with contextlib.suppress(ValueError, OSError):  # a system that cannot limit the address space runs without
        resource.setrlimit(resource.RLIMIT_AS, (limit_mb << 20, limit_mb << 20))
