"""Threads of nodes: started late, ended cleanly, and without an effect on torch's own threads elsewhere.

Executors, not bare threads: they end with the interpreter or with their node, whichever comes first, they need no
polling, and a result that raised waits in its future instead of killing a queue.
"""

from concurrent.futures import ThreadPoolExecutor

import torch


def start_threads(workers: int, name: str) -> ThreadPoolExecutor | None:
    """A pool of `workers` threads, or None for 0. No thread runs before the first item is submitted.

    Each thread computes alone: with torch's own threads on top, `workers` times as many threads would fight for the
    cores. The first thread to ask torch for its number of threads fixes the default of those that ask later, so the
    calling thread asks first; otherwise its own number would become 1 too.
    """
    if not workers:
        return None
    torch.get_num_threads()
    return ThreadPoolExecutor(
        workers, thread_name_prefix=f"wdstream-{name}", initializer=torch.set_num_threads, initargs=(1,)
    )


def end_threads(threads: ThreadPoolExecutor | None) -> None:
    """Drop what has not begun, wait for what has, and end the threads."""
    if threads is not None:
        threads.shutdown(wait=True, cancel_futures=True)
