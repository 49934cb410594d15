"""One job at a time on a place under a URL, whatever the job: all of them hold the same lease; parts of one job share.

A part holds a lease of its own. It excludes a job that writes all of the place, and parts of another number, which
would share out the pieces in another way.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from wdstream.storage.engines.part import WorkPart
from wdstream.storage.writes.place import Hold, Place

LEASE = ".wdstream-lease"
"""The file of the lease; those of parts begin with it."""
_GIVES_WAY_S = 2.0


def is_lease(name: str) -> bool:
    """Whether a file of a place is a lease, by its name."""
    return name.startswith(LEASE)


@contextmanager
def one_job(place: Place, job: str, *, part: WorkPart | None = None, wait_s: float = 0.0) -> Iterator[Hold]:
    """Hold a place for the block, or a part of it together with other parts.

    Each writes its own lease and looks for others afterwards, so of two that begin in the same moment at most one
    continues; the one whose lease sorts first waits a little for the other to give way.

    Raises:
        ConfigError: another job is at work there, with who it is; or it cannot be written.
    """
    own = LEASE if part is None else f"{LEASE}-{part.name}"
    with place.hold(own, job=job, wait_s=wait_s) as hold:
        for name in [file.name for file in place.files(LEASE)]:
            if name != own and not _are_parts_of_one(name, part):
                with place.hold(name, job=job, wait_s=min(wait_s, _GIVES_WAY_S) if own < name else 0.0):
                    pass  # whoever held it has ended
        yield hold


def _are_parts_of_one(name: str, part: WorkPart | None) -> bool:
    """Whether a lease is of a part of as many, which has no piece of this one."""
    return part is not None and name != LEASE and name.rpartition("-of-")[2] == part.name.rpartition("-of-")[2]
