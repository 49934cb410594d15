"""What a job of make-shards leaves: files by digest, processes."""

import os
from pathlib import Path

Tree = dict[str, str]


def children_of(pid: int) -> list[int]:
    """Processes started by a process and alive, workers say."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                stat = (folder / "stat").read_text().rpartition(")")[2].split()
            except OSError:  # it has ended meanwhile
                continue
            if int(stat[1]) == pid and stat[0] not in ("Z", "X") and int(folder.name) != os.getpid():
                found.append(int(folder.name))
    return sorted(found)


def workers_of(pid: int) -> list[int]:
    """Processes that have become workers of a job; before, a child is a copy of its parent, which waits for it."""
    return [child for child in children_of(pid) if _is_worker(child)]


def _is_worker(pid: int) -> bool:
    try:
        return b"make_shards.worker_main" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:  # it has ended meanwhile
        return False
