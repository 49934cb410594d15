"""A real S3 server on loopback (moto, in a process of its own), reached as users reach S3: by environment variables.

What it writes (a line per request, and tracebacks) is in a file, whose end is shown with a test that failed.

`s3_server` (tests/conftest.py) is one for a whole run; `bucket` makes a bucket of it. A proxy that fails in between is
in tests/helpers/faulty_proxy.py.
"""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import pytest

from tests.helpers.processes import free_port
from tests.helpers.waiting import HANGS_AFTER_S

_SAID_BYTES = 4000
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}


def forget_connections() -> None:
    """File systems are kept by their arguments; an endpoint in the environment is none of these."""
    import s3fs

    s3fs.S3FileSystem.clear_instance_cache()


@dataclass(frozen=True)
class S3Server:
    """A server that runs.

    Attributes:
        port: on loopback.
        output: what it writes.
    """

    port: int
    output: Path

    @property
    def said(self) -> str:
        """The end of what it wrote."""
        with self.output.open("rb") as file:
            file.seek(max(0, self.output.stat().st_size - _SAID_BYTES))
            return file.read().decode(errors="replace")

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def environment(self) -> dict[str, str]:
        """By which any process reaches it."""
        return {**CREDENTIALS, "AWS_ENDPOINT_URL": self.url}

    def use(self, monkeypatch: pytest.MonkeyPatch, *, url: str = "") -> None:
        """Have this process, and those that it starts, reach this server; `url` is of a proxy before it."""
        for name, value in {**self.environment, **({"AWS_ENDPOINT_URL": url} if url else {})}.items():
            monkeypatch.setenv(name, value)
        forget_connections()

    def call(self, method: str, **arguments: object) -> dict[str, object]:
        """One request of botocore, past everything of wdstream."""
        answer: dict[str, object] = getattr(_client(self.url), method)(**arguments)
        return answer

    def objects(self, bucket: str, prefix: str = "") -> dict[str, bytes]:
        """All objects below a prefix, by the rest of their names."""
        found: dict[str, bytes] = {}
        more: dict[str, object] = {}
        while True:
            page = self.call("list_objects_v2", Bucket=bucket, Prefix=prefix, **more)
            entries = page.get("Contents", [])
            assert isinstance(entries, list)
            for entry in entries:
                body = self.call("get_object", Bucket=bucket, Key=entry["Key"])["Body"]
                found[entry["Key"].removeprefix(prefix).lstrip("/")] = body.read()  # type: ignore[attr-defined]
            if not page.get("IsTruncated"):
                return found
            more = {"ContinuationToken": page["NextContinuationToken"]}

    def unfinished(self, bucket: str) -> list[str]:
        """Keys of uploads in parts that were neither completed nor aborted."""
        uploads = self.call("list_multipart_uploads", Bucket=bucket).get("Uploads", [])
        assert isinstance(uploads, list)
        return [upload["Key"] for upload in uploads]


@lru_cache
def _client(url: str) -> object:
    import botocore.session

    names = {"aws_access_key_id": "testing", "aws_secret_access_key": "testing", "region_name": "us-east-1"}
    return botocore.session.get_session().create_client("s3", endpoint_url=url, **names)


@contextmanager
def serving_s3(output: Path) -> Iterator[S3Server]:
    """Such a server, running; its objects are in its memory."""
    server = S3Server(free_port(), output)
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(server.port)]
    with (
        output.open("wb") as written,
        subprocess.Popen(command, stdout=written, stderr=written, env={**os.environ, **CREDENTIALS}) as process,
    ):
        try:
            wait_for_port(server.port, process)
            yield server
        finally:
            process.kill()


def wait_for_port(port: int, process: "subprocess.Popen[bytes]") -> None:
    """Wait until the server of a port of loopback takes connections."""
    deadline = time.monotonic() + HANGS_AFTER_S
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            assert process.poll() is None, "the server ended"
            assert time.monotonic() < deadline, "the server does not answer"
            time.sleep(0.05)
