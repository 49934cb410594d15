"""What follows from a lost process: which pages are read again, by which jobs, and when a page is given up.

The page it was at is read again alone, by a process that does nothing else, and is given up when that one is lost, too;
where someone else may have ended them all (`kill -9`, a system out of memory), when a third is. The other pages of the
shard are read again by another process meanwhile. Every page is kept in a file as soon as it is read, so that however
many pages of a shard lose their process, each is read a few times, not the shard. Last, the shard is put together from
what was kept: the bytes are those of a shard without losses.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from wdstream.errors import WdstreamError
from wdstream.make_shards.jobs import Job, Skip
from wdstream.make_shards.process import Loss

_LOSSES, _LOSSES_FROM_OUTSIDE = 2, 4
"""By which a page is given up."""
_MOST_UNEXPLAINED = 20
"""Losses of a job that no page explains, as while its shard is written; each is the loss of all its work."""
_TIMES = {2: "twice"}

LostAt = tuple[int, int | None]


@dataclass(slots=True)
class _Shard:
    """A shard of which a process was lost."""

    job: Job
    open_jobs: int = 0
    kept: set[tuple[int, int]] = field(default_factory=set)
    skips: list[Skip] = field(default_factory=list)


class Recovery:
    """The losses of a run of jobs, and what was decided about them.

    Attributes:
        tried_again: pages and files that were read again alone.
        given_up: those that were lost again.
    """

    def __init__(self) -> None:
        self.tried_again = 0
        self.given_up = 0
        self._shards: dict[int, _Shard] = {}
        self._losses: dict[object, list[Loss]] = {}
        self._unexplained: Counter[tuple[str, int]] = Counter()

    def after_loss(self, job: Job, at: LostAt | None, loss: Loss) -> list[Job]:
        """The jobs that take the place of a lost one, the most urgent first.

        Raises:
            WdstreamError: the job was lost too often where no page explains it.
        """
        if at is None or at[0] >= len(job.items) or job.kept:
            return [self._unexplained_loss(job, loss)]
        if job.kind == "survey":
            return self._survey_again(job, at[0], loss)
        if job.kind == "shard":
            self._shards[job.number] = _Shard(job=job, open_jobs=1, skips=[*job.skips])
        return self._read_again(job, at, loss)

    def after_keeping(self, job: Job) -> list[Job]:
        """A job that kept pages is done; next is the shard, once all its pages are."""
        shard = self._shards[job.number]
        shard.kept |= {*job.places}
        return self._closed(shard)

    def _read_again(self, job: Job, at: LostAt, loss: Loss) -> list[Job]:
        """Split a job at the page where its process was lost, or at the range, if the file was being opened."""
        shard, places = self._shards[job.number], job.places
        item, page = at
        alone = [place for place in places if place[0] == item and page in (None, place[1])]
        before = places[: places.index(alone[0])] if job.kind == "keep" else []
        rest = [place for place in places if place not in {*before, *alone}]
        shard.kept |= {*before}
        losses = self._noted((job.number, *alone), loss)
        jobs = [_keeping(shard.job, rest, is_alone=False)] if rest else []
        if _is_enough(losses):
            is_whole = len(alone) == job.items[item].count > 1
            numbers = [None] if is_whole else [number for _, number in alone]
            shard.skips += [Skip(item=item, page=number, reason=_reason(losses)) for number in numbers]
        else:
            jobs.insert(0, _keeping(shard.job, alone, is_alone=True))
        shard.open_jobs += len(jobs)
        return jobs + self._closed(shard)

    def _survey_again(self, job: Job, item: int, loss: Loss) -> list[Job]:
        """Split a survey at the file where its process was lost."""
        losses = self._noted((job.kind, job.items[item].file.path), loss)
        skips = (Skip(item=0, page=None, reason=_reason(losses)),) if _is_enough(losses) else ()
        others = job.items[:item] + job.items[item + 1 :]
        alone = replace(job, items=(job.items[item],), num_pages=1, skips=skips, is_alone=True)
        return [alone, replace(job, items=others, num_pages=len(others), is_alone=False)] if others else [alone]

    def _closed(self, shard: _Shard) -> list[Job]:
        """One job of a shard is over; the job that puts the shard together, if it was the last."""
        shard.open_jobs -= 1
        return [] if shard.open_jobs else [replace(shard.job, kept=(*sorted(shard.kept),), skips=(*shard.skips,))]

    def _noted(self, what: object, loss: Loss) -> list[Loss]:
        losses = self._losses.setdefault(what, [])
        losses.append(loss)
        self.tried_again += len(losses) == 1
        self.given_up += _is_enough(losses)
        return losses

    def _unexplained_loss(self, job: Job, loss: Loss) -> Job:
        self._unexplained[job.kind, job.number] += 1
        if self._unexplained[job.kind, job.number] > _MOST_UNEXPLAINED:
            raise WdstreamError(
                f"{job.kind} {job.number}: {_MOST_UNEXPLAINED + 1} processes of make-shards were lost, each outside of "
                f"any page; the last one: {loss.cause}. Run the same command again: it continues"
            )
        return job


def _keeping(shard: Job, places: Sequence[tuple[int, int]], *, is_alone: bool) -> Job:
    """The job that reads and keeps these pages of a shard."""
    elsewhere = {*shard.places} - {*places}
    return replace(shard, kind="keep", skips=(), elsewhere=(*sorted(elsewhere),), is_alone=is_alone)


def _is_enough(losses: Sequence[Loss]) -> bool:
    is_ours = any(not loss.may_be_from_outside for loss in losses)
    return len(losses) >= (_LOSSES if is_ours else _LOSSES_FROM_OUTSIDE)


def _reason(losses: Sequence[Loss]) -> str:
    causes = " and ".join(dict.fromkeys(loss.cause for loss in losses))
    return f"lost {_TIMES.get(len(losses), f'{len(losses)} times')}, the last time alone: reading it {causes}"
