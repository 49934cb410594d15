"""A model folder to a repository of a model hub, by huggingface_hub."""

import re
from pathlib import Path

from wdstream.errors import ConfigError, TrainError

_REPO = re.compile(r"[\w.-]+/[\w.-]+")


def require_hub(repo: str) -> None:
    """Refuse before anything is written what could not be uploaded.

    Raises:
        ConfigError: the name is not one of a repository, or the hub is switched off.
    """
    from huggingface_hub.constants import is_offline_mode

    if not _REPO.fullmatch(repo):
        raise ConfigError(f"--push {repo}: expected OWNER/NAME, the name of a repository")
    if is_offline_mode():
        raise ConfigError(f"--push {repo}: HF_HUB_OFFLINE is set, so no hub is asked; unset it, or leave out --push")


def push_folder(folder: Path, repo: str) -> str:
    """Upload a folder as one commit; a new repository is private.

    Returns:
        The address of the commit.

    Raises:
        TrainError: the hub cannot be reached, or refuses.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    api = HfApi()
    try:
        api.create_repo(repo, private=True, exist_ok=True)
        commit = api.upload_folder(repo_id=repo, folder_path=folder, commit_message="Export by wdstream")
    except (HfHubHTTPError, OSError, ValueError) as error:
        text = " ".join(str(error).split())
        raise TrainError(f"--push {repo}: {folder} is written, and could not be uploaded ({text})") from error
    return str(commit)
