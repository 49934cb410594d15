"""Every error wdstream raises, in one tree.

WdstreamError
├── ConfigError      the configuration: unknown key, value out of range, settings that contradict each other
├── PageError        one page or row is bad; the only kind that is skipped: quarantined with its reason
│   ├── SourceError  a raw file or one of its pages cannot be read
│   ├── RowError     a row's text, placeholders and images do not belong together
│   ├── UnfitError   a sound page that no pack takes: too long, too large, without text
│   └── DecodeError  an image's bytes cannot become pixels, or exceed a limit
├── ShardError       a shard at rest is truncated, malformed, or not what its index says
│   ├── ShardIndexError  an index is missing, stale, or lacks the token column of this tokenizer
│   ├── AbsentFileError  the storage answers that there is no such file
│   ├── ForbiddenFileError  the storage does not let us read the file
│   │   └── AbsentBucketError  it has no such bucket at all
│   ├── StorageFailureError  the storage, the device or the network fails: it is not known whether the file is there
│   └── DamagedSampleError  the bytes of one sample are not those that were indexed; a PageError too: only it is skipped
├── PlanError        no plan can be made from these settings
├── StateError       a saved state belongs to another plan
├── DamagedFileError a list that a run or a job keeps (JSON lines) has a damaged line in the middle
├── FamilyError      a model family is unknown, or cannot do what is asked
└── TrainError       the training run cannot start or continue

A message says what, which file or key, what was expected and found, and what to do.
"""

import errno
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""Errors of the system by which a write fails as on a disk that is full, and which name no file by themselves."""

TOO_MANY_FILES = frozenset({errno.EMFILE, errno.ENFILE})
"""Errors of a process or machine that has as many files open as it may: no file's fault."""
_REMEDIES = {
    **dict.fromkeys(NO_ROOM, "make room there, or raise the limit (quota, ulimit -f)"),
    **dict.fromkeys(TOO_MANY_FILES, "raise the limit (ulimit -n 4096), or use fewer workers at once"),
    **dict.fromkeys(
        (errno.EAGAIN, errno.ENOMEM), "free memory, raise the limits (ulimit -u, -v), or use fewer workers"
    ),
    **dict.fromkeys((errno.EIO, errno.ESTALE), "the device or file system fails; try again, or look at it"),
    errno.EBUSY: "wait until that has ended",
    errno.EROFS: "that file system is read-only: name a place that can be written",
    errno.ENAMETOOLONG: "name a shorter path",
    errno.ELOOP: "links there lead in a circle: name the file itself",
}
_OF_THE_SYSTEM = {
    **dict.fromkeys((errno.EAGAIN, errno.ENOMEM), "a process"),
    errno.EIO: "a file",
    errno.ESTALE: "a file",
}
"""What to name where the error names nothing, of errors that are the system's for certain."""


_NO_MEMORY = ("failed to map segment", "annot allocate memory", "cannot map zero-fill pages", "can't start new thread")
"""What the dynamic linker and Python say where the system gives no more memory, or no more threads."""


class WdstreamError(Exception):
    """Base of all errors raised for a user to read."""


class ConfigError(WdstreamError, ValueError):
    """The configuration is wrong."""


class PageError(WdstreamError):
    """One page or row is bad; callers quarantine it and continue."""


class SourceError(PageError):
    """A raw file, or one page of it, cannot be read."""


class RowError(PageError):
    """A row's text, placeholders and images do not belong together.

    Attributes:
        reason: the message without `option`, for what has no such option, parts of a tar; with what helps there.
    """

    def __init__(self, reason: str, *, option: str = "", sample_option: str = "") -> None:
        super().__init__(reason + option)
        self.reason = reason + sample_option


class UnfitError(PageError):
    """A page is sound, but no pack takes it: too long, too large, or without text."""


class DecodeError(PageError):
    """An image cannot be decoded, or exceeds a limit."""


class ShardError(WdstreamError):
    """A shard is truncated, malformed, or does not match its index."""


class ShardIndexError(ShardError):
    """An index is missing, stale, or lacks the wanted token column."""


class AbsentFileError(ShardError):
    """The storage answers that there is no such file: the only error that may be taken for "not written"."""


class ForbiddenFileError(ShardError):
    """The file may not be read: permissions or credentials."""


class AbsentBucketError(ForbiddenFileError):
    """The store has no such bucket, or does not show it: the address is wrong, and nothing can be said of the file."""


class StorageFailureError(ShardError):
    """Storage, device or network fail; whether the file is there is not known."""


class StoreDownError(WdstreamError):
    """A store answers nothing, or forbids everything: no file's fault, so that the job ends and can be continued.

    It is no ShardError, which readers take for damage of the file.
    """


class DamagedSampleError(ShardError, PageError):
    """The shard is whole, but the bytes of one sample are not those that were indexed."""


class PlanError(WdstreamError, ValueError):
    """No plan can be made from these settings."""


class StateError(WdstreamError):
    """A saved state belongs to another plan."""


class DamagedFileError(WdstreamError):
    """A list that a run or a job keeps is damaged, not only cut off at its end."""


class FamilyError(WdstreamError):
    """A model family is unknown, or cannot do what is asked."""


class TrainError(WdstreamError):
    """The training run cannot start or continue."""


def interrupt_of(error: BaseException) -> KeyboardInterrupt | None:
    """The interrupt from the keyboard that an error is, or that it came of; None where there was none.

    Python answers a Ctrl-C anywhere, also in the middle of code that then cannot clean up: `threading` says "release
    unlocked lock", or that a thread was not started.
    """
    seen = set[int]()
    following: BaseException | None = error
    while following is not None and id(following) not in seen:
        if isinstance(following, KeyboardInterrupt):
            return following
        seen.add(id(following))
        following = following.__cause__ or following.__context__
    return None


@contextmanager
def needs_extra(
    what: str, extra: str, *, error_type: type[WdstreamError] = ConfigError, alternative: str = ""
) -> Iterator[None]:
    """For the imports of an optional package: without it, an error that says what needs it and how it is installed.

    Args:
        what: a setting, or what is done with the package.
        extra: of wdstream, which brings the package.
        error_type: what to raise.
        alternative: what else to do, such as "or use kind: lora".
    """
    try:
        yield
    except ImportError as error:
        text = f"{what} needs {error.name or 'another package'} ({error}); run pip install 'wdstream[{extra}]'"
        raise error_type(f"{text} {alternative}".strip()) from error


def file_trouble(error: OSError) -> str:
    """What the system says of a file that a command cannot read or write, in one line.

    Raises:
        OSError: the error itself, when it is not about a file: then it is a fault of ours.
    """
    code = error.errno or 0
    remedy = _REMEDIES.get(code, "is the path right, and may you read and write there?")
    file = error.filename
    if code in NO_ROOM:
        file = error.filename2 or file or "a file"  # of a copy the second is the one that is written
    if code in TOO_MANY_FILES:
        return f"{error.strerror}{'' if file is None else f' to open {file}'}; {remedy}"
    file = _OF_THE_SYSTEM.get(code) if file is None else file
    if file is None:
        raise error
    return f"{file}: {error.strerror or error}; {remedy}"


def memory_trouble(error: BaseException) -> str:
    """What to say of an error by which this process gets no more memory or threads; of any other, nothing.

    Libraries that are loaded, and threads that are started, fail in words of their own then.
    """
    said = next(iter(str(error).strip().splitlines()), "")
    is_known = isinstance(error, ImportError | OSError | RuntimeError) and any(sign in said for sign in _NO_MEMORY)
    if not is_known and not isinstance(error, MemoryError):
        return ""
    return f"no more memory or threads are to be had ({said or type(error).__name__}); {_REMEDIES[errno.ENOMEM]}"


def write_trouble(place: object, error: OSError) -> ShardError:
    """What ended a job that writes to a place and can be continued, with what helps where that is known."""
    remedy = _REMEDIES.get(error.errno or 0, "")
    return ShardError(
        f"{place}: cannot be written ({error.strerror or error}){remedy and '; '}{remedy}; when that is put right, run "
        "the same command again: it continues"
    )


def load_json(text: str | bytes) -> Any:
    """The value of a JSON text that comes from a file: whatever is wrong with it is a ValueError, as Python's own
    errors are, but for values that are in one another too deeply.

    Raises:
        ValueError: it is not JSON.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("values are in one another too deeply") from None
