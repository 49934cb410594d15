"""A model folder to a repository of a model hub, by huggingface_hub."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from wdstream.errors import ConfigError, TrainError

_REPO = re.compile(r"[\w.-]+/[\w.-]+")
_TOKEN = "give one that may write, as HF_TOKEN or by `hf auth login`"
_NUM_NAMED = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class PushReport:
    """What was uploaded.

    Attributes:
        commit: its address.
        others: files of the repository that were there before, and are none of the folder's.
    """

    commit: str
    others: tuple[str, ...]

    def __str__(self) -> str:
        if not self.others:
            return self.commit
        named = ", ".join(self.others[:_NUM_NAMED]) + (", ..." if len(self.others) > _NUM_NAMED else "")
        return (
            f"{self.commit}\nthe repository was there already, and keeps {len(self.others)} of its own: {named}; "
            "remove them there if they belong to another model"
        )


def require_hub(repo: str) -> None:
    """Refuse before anything is written what could not be uploaded.

    Raises:
        ConfigError: the name is not one of a repository, or the hub is switched off.
        TrainError: the hub cannot be reached, or there is no token that it takes.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.constants import is_offline_mode

    if not _REPO.fullmatch(repo):
        raise ConfigError(f"--push {repo}: expected OWNER/NAME, the name of a repository")
    if is_offline_mode():
        raise ConfigError(f"--push {repo}: HF_HUB_OFFLINE is set, so no hub is asked; unset it, or leave out --push")
    with _one_line(f"--push {repo}: nothing is written yet"):
        HfApi().whoami()


def push_folder(folder: Path, repo: str) -> PushReport:
    """Upload a folder as one commit; a new repository is private.

    Raises:
        TrainError: the hub cannot be reached, or refuses; the repository is then as it was, or new and empty.
    """
    from huggingface_hub import HfApi

    api = HfApi()
    later = f"--push {repo}: {folder} is written, and not uploaded (`hf upload {repo} {folder}` does so later)"
    with _one_line(later):
        api.create_repo(repo, private=True, exist_ok=True)
        before = set(api.list_repo_files(repo))
        commit = api.upload_folder(repo_id=repo, folder_path=folder, commit_message="Export by wdstream")
        there = set(api.list_repo_files(repo))
    own = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    if missing := sorted(own - there):
        raise TrainError(f"{later}: the hub left out {', '.join(missing)}; does a .gitignore there name it?")
    return PushReport(commit=str(commit), others=tuple(sorted(before - own - {".gitattributes"})))


@contextmanager
def _one_line(what: str) -> Iterator[None]:
    """For the block, errors of the hub as one line after `what`.

    Raises:
        TrainError: there was one.
    """
    try:
        yield
    except Exception as error:  # of any kind: of the hub, of its client, and of what its client sends with
        status = getattr(getattr(error, "response", None), "status_code", None)
        advice = f"; {_TOKEN}" if status in (401, 403) or "token" in type(error).__name__.lower() else ""
        reasons = [" ".join(str(one).split()) for one in (error, error.__cause__) if one is not None]
        raise TrainError(f"{what}: {': '.join(filter(None, reasons)) or type(error).__name__}{advice}") from error
