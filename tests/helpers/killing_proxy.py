"""A proxy before a store that kills a process by SIGKILL when it makes one of its requests."""

import os
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from tests.helpers.faulty_proxy import FaultyProxy
from tests.helpers.s3_server import S3Server


class Killer(FaultyProxy):
    """Kills a process before its request number `moment` is passed on; never where that is 0."""

    def __init__(self, port: int, moment: int) -> None:
        super().__init__(port, rate=0.0, faults=(), seed=0)
        self.victim: subprocess.Popen[bytes] | None = None
        self.moment = moment

    def fault(self) -> str:
        fault = super().fault()
        if self.asked == self.moment and self.victim is not None:
            self.victim.kill()
        return fault


@contextmanager
def serving_proxy(server: FaultyProxy) -> Iterator[FaultyProxy]:
    """A proxy of whatever kind, running."""
    with server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def run_killed(
    command: Sequence[str], server: S3Server, moment: int, more: Mapping[str, str] | None = None
) -> tuple[int, int]:
    """A command's requests until it ended, killed before number `moment`, and its status."""
    with serving_proxy(killer := Killer(server.port, moment)):
        environment = {**os.environ, **server.environment, **(more or {}), "AWS_ENDPOINT_URL": killer.url}
        with subprocess.Popen(command, env=environment) as process:
            killer.victim = process
            process.wait()
        return killer.asked, process.returncode
