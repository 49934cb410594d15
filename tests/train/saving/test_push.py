"""A folder at a hub: the client of huggingface_hub itself, against a hub on loopback.

Spans: train.
"""

from pathlib import Path

import pytest
from huggingface_hub import constants

from tests.helpers.command import run as wdstream
from tests.helpers.hub_server import HubServer
from wdstream.errors import TrainError
from wdstream.train.saving.push import push_folder, require_hub

# The client's own way to send a large file, of which its HTTP library says that it is to be spelt otherwise.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "model"
    made.mkdir()
    (made / "model.safetensors").write_bytes(bytes(range(256)) * 40)
    (made / "README.md").write_text("---\nlibrary_name: transformers\n---\n")
    (made / "config.json").write_text("{}")
    (made / "empty.txt").touch()
    return made


def test_a_repository_that_is_there_keeps_its_other_files(hub: HubServer, folder: Path) -> None:
    assert str(push_folder(folder, "org/model")) == f"{hub.url}/org/model/commit/{'0' * 40}"
    (folder / "adapter_config.json").write_text("{}")
    push_folder(folder, "org/model")
    (folder / "adapter_config.json").unlink()
    (folder / "config.json").write_text("{ }")
    said = str(push_folder(folder, "org/model"))
    assert "the repository was there already, and keeps 1 of its own: adapter_config.json; " in said
    assert hub.repositories["org/model"]["config.json"] == b"{ }"


@pytest.mark.parametrize("token", ["hf_wrong", ""])
def test_without_a_right_token_nothing_is_written(
    token: str, hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", token)
    done = wdstream("model", "export", tmp_path / "run", tmp_path / "out", "--push", "org/model")
    assert (done.returncode, (tmp_path / "out").exists(), hub.repositories) == (1, False, {})
    assert done.stderr.startswith("wdstream: --push org/model: nothing is written yet: ")
    assert done.stderr.endswith("; give one that may write, as HF_TOKEN or by `hf auth login`\n")
    assert done.stderr.count("\n") == 1


def test_a_hub_that_does_not_answer(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(TrainError, match=r"--push org/model: nothing is written yet: .*[Cc]onnect"):
        require_hub("org/model")


def test_what_is_refused_or_interrupted_says_how_to_upload_later(hub: HubServer, folder: Path) -> None:
    later = rf"{folder} is written, and not uploaded \(`hf upload org/model {folder}` does so later\): "
    hub.refused = "/api/repos/create"
    with pytest.raises(TrainError, match=later + r".*403.*; give one that may write"):
        push_folder(folder, "org/model")
    hub.refused, hub.breaks = None, True
    with pytest.raises(TrainError, match=later + r".*model.safetensors.*: Bad request: RequestTimeout"):
        push_folder(folder, "org/model")
    assert hub.commits == 0 and [*hub.repositories["org/model"]] == [".gitattributes"]
    hub.breaks, hub.ignored = False, {"config.json"}
    with pytest.raises(TrainError, match=later + r"the hub left out config.json"):
        push_folder(folder, "org/model")
