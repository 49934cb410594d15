"""A real web server on loopback that serves a folder in ranges, and some of whose answers fail, by a seed."""

import random
import re
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

FAULTS = ("500", "503", "429", "reset", "half", "half without length", "flipped", "other range", "slow", "200 for 206")


class SpoiledServer(ThreadingHTTPServer):
    """A server `rate` of whose answers fail, each as one of `faults`, by a seed.

    Attributes:
        failed: how often each fault was sent.
        asked: requests that may fail.
        every: where it is set, each so-manieth of them fails, by the faults in turn; `rate` does not count.
        bytes_sent: of all bodies.
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, handler: type[BaseHTTPRequestHandler], *, rate: float, faults: Sequence[str], seed: int) -> None:
        super().__init__(("127.0.0.1", 0), handler)
        self.rate, self.faults = rate, faults
        self.failed: Counter[str] = Counter()
        self.asked = self.bytes_sent = self.every = 0
        self.lock = threading.Lock()
        self.random = random.Random(seed)

    def fault(self) -> str:
        """The fault of the next answer, or none."""
        with self.lock:
            self.asked += 1
            if self.every:
                fault = "" if self.asked % self.every else self.faults[self.failed.total() % len(self.faults)]
            else:
                fault = self.random.choice(self.faults) if self.random.random() < self.rate else ""
            self.failed[fault] += bool(fault)
            return fault

    def handle_error(self, request: object, client_address: object) -> None:
        """Keep the test's output clean: clients go away from answers that are wrong."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class FaultyServer(SpoiledServer):
    """Serves a folder; `rate` of the answers to GET fail, each as one of `faults`.

    Attributes:
        etags: taken in turn, as of servers that share an address.
        date: of all files; none is sent when empty.
        in_chunks: send whole files in chunks, without their length.
        authorization: what a request has to have in its header of that name; empty for nothing.
    """

    def __init__(self, root: Path, *, rate: float, faults: Sequence[str], seed: int) -> None:
        super().__init__(_Handler, rate=rate, faults=faults, seed=seed)
        self.root = root
        self.etags: Sequence[str] = ()
        self.date = ""
        self.in_chunks = False
        self.authorization = ""


class _Handler(BaseHTTPRequestHandler):
    server: FaultyServer
    protocol_version = "HTTP/1.1"

    def setup(self) -> None:
        # As over a network: little is under way before the client can stop it.
        self.request.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 15)
        super().setup()

    def log_message(self, *_: object) -> None:
        """Keep the test's output clean."""

    def do_HEAD(self) -> None:
        self._answer("", with_body=False)

    def do_GET(self) -> None:
        fault = self.server.fault()
        if fault == "slow":
            time.sleep(0.02)
        if fault == "reset":
            self.close_connection = True
            self.connection.close()
        elif fault.isdecimal():
            self.close_connection = True
            self.send_error(int(fault))
        else:
            self._answer(fault, with_body=True)

    def _answer(self, fault: str, *, with_body: bool) -> None:
        path = self.server.root / unquote(self.path).lstrip("/")
        if not path.is_file():
            self.send_error(404)
            return
        if self.server.authorization not in ("", self.headers.get("Authorization")):
            self.send_error(401)
            return
        size = path.stat().st_size
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        first, stop = (int(wanted[1]), int(wanted[2] or size - 1) + 1) if wanted else (0, size)
        if wanted and fault == "other range":
            first, stop = max(0, first - 7), max(0, stop - 7)
        if wanted and fault == "less of a range":
            stop = min(stop, first + 100_000)
        if fault == "200 for 206":
            wanted, first, stop = None, 0, size
        if wanted and first >= size:
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{size}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        with path.open("rb") as file:
            file.seek(first)
            body = file.read(max(0, min(stop, size) - first)) if with_body else b""
        self.send_response(206 if wanted else 200)
        in_chunks = self.server.in_chunks and not wanted
        if in_chunks:
            self.send_header("Transfer-Encoding", "chunked")
        elif fault == "half without length":
            self.close_connection = True
        else:
            self.send_header("Content-Length", str(max(0, min(stop, size) - first)))
        if wanted:
            self.send_header("Content-Range", f"bytes {first}-{min(stop, size) - 1}/{size}")
        self.send_header("Accept-Ranges", "bytes")
        etags = self.server.etags or (f'"{size}"',)
        self.send_header("ETag", etags[self.server.asked % len(etags)])
        if self.server.date:
            self.send_header("Last-Modified", self.server.date)
        self.end_headers()
        if in_chunks:
            self._send_chunks(body, fault)
        else:
            self._send(body, fault)

    def _send_chunks(self, body: bytes, fault: str) -> None:
        """In chunks; with a fault, all but the one that says that it is the last."""
        for start in range(0, len(body), 1 << 14):
            part = body[start : start + (1 << 14)]
            self.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
        if fault:
            self.close_connection = True
        else:
            self.wfile.write(b"0\r\n\r\n")

    def _send(self, body: bytes, fault: str) -> None:
        if fault.startswith("half"):
            body = body[: len(body) // 2]
            self.close_connection = True
        if fault == "flipped" and body:
            body = body[:-1] + bytes([body[-1] ^ 1])
        for start in range(0, len(body), 1 << 16):  # a client may go away: what it did not take does not count
            part = body[start : start + (1 << 16)]
            self.wfile.write(part)
            with self.server.lock:
                self.server.bytes_sent += len(part)


@contextmanager
def failing(root: Path, *, rate: float, faults: Sequence[str] = FAULTS, seed: int = 0) -> Iterator[FaultyServer]:
    """Such a server of a folder, running."""
    with FaultyServer(root, rate=rate, faults=faults, seed=seed) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()
