"""A real HTTP proxy on loopback before one server (an S3 server, say), which spoils some requests and answers.

Requests of any method are passed on. Some fail before the server has them (500, 503, 429, reset), some after it has
done what was asked (lost answer, half body): a client cannot tell which.
"""

import http.client
import random
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

STORE_FAULTS = ("500", "503", "429", "reset", "lost answer", "half body")
_DROPPED = {"connection", "transfer-encoding", "content-length", "date", "server"}


class FaultyProxy(ThreadingHTTPServer):
    """Passes requests on to a port of this machine; `rate` of them fail, each as one of `faults`.

    Attributes:
        failed: how often each fault was sent.
        asked: requests that came.
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, port: int, *, rate: float, faults: Sequence[str], seed: int) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.port, self.rate, self.faults = port, rate, faults
        self.failed: Counter[str] = Counter()
        self.asked = 0
        self._random = random.Random(seed)
        self._lock = threading.Lock()

    def fault(self) -> str:
        """The fault of the next request, or none."""
        with self._lock:
            self.asked += 1
            fault = self._random.choice(self.faults) if self._random.random() < self.rate else ""
            self.failed[fault] += bool(fault)
            return fault

    def handle_error(self, request: object, client_address: object) -> None:
        """Keep the test's output clean."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: FaultyProxy
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Keep the test's output clean."""

    def _pass_on(self) -> None:
        body = self._body()
        fault = self.server.fault()
        if fault == "reset":
            self._hang_up()
        elif fault.isdecimal():
            self.send_response(int(fault))
            self.send_header("Content-Length", "0")
            self.end_headers()
        else:
            self._answer(body, fault)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _pass_on

    def _body(self) -> bytes:
        if self.headers.get("Expect", "").lower() == "100-continue":
            self.send_response_only(100)
            self.end_headers()
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def _answer(self, body: bytes, fault: str) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port)
        headers = {name: value for name, value in self.headers.items() if name.lower() not in ("connection", "expect")}
        connection.request(self.command, self.path, body=body, headers=headers)
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        if fault == "lost answer":
            self._hang_up()
            return
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in _DROPPED:
                self.send_header(name, value)
        length = answer.getheader("Content-Length", "0") if self.command == "HEAD" else str(len(content))
        self.send_header("Content-Length", length)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content[: len(content) // 2] if fault else content)
        if fault:
            self._hang_up()

    def _hang_up(self) -> None:
        self.close_connection = True
        self.wfile.flush()
        self.connection.close()


@contextmanager
def spoiling(port: int, *, rate: float, faults: Sequence[str] = STORE_FAULTS, seed: int = 0) -> Iterator[FaultyProxy]:
    """Such a proxy before a port, running."""
    with FaultyProxy(port, rate=rate, faults=faults, seed=seed) as proxy:
        thread = threading.Thread(target=proxy.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield proxy
        proxy.shutdown()
        thread.join()
