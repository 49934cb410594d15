"""A real web server on loopback that serves a folder in ranges, counts requests, and fails as configured."""

import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tests.helpers.waiting import HANGS_AFTER_S


class Server(ThreadingHTTPServer):
    """Serves a folder and lists requests; may answer 503 (`stumbles`), a status by path (`answers`), late, without
    ranges, too short, or with a flipped bit."""

    daemon_threads = True

    def __init__(self, root: Path, host: str = "127.0.0.1") -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        super().__init__((host, 0), Handler)
        self.root = root
        self.requests: list[str] = []
        self.stumbles = 0
        self.answers: dict[str, int] = {}
        self.short_answers = 0
        self.damaged_answers = 0
        self.has_ranges = True
        self.answers_from = 1
        self.most_running = 0
        self._running = 0
        self._changed = threading.Condition()

    @contextmanager
    def together(self) -> Iterator[None]:
        """A request at work: it waits until `answers_from` of them have been at work at once."""
        with self._changed:
            self._running += 1
            self.most_running = max(self.most_running, self._running)
            self._changed.notify_all()
            self._changed.wait_for(lambda: self.most_running >= self.answers_from, HANGS_AFTER_S)
        yield
        with self._changed:
            self._running -= 1

    @property
    def url(self) -> str:
        host, port = map(str, self.server_address[:2])
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def log_message(self, *_: object) -> None:
        """Keep the test's output clean."""

    def do_HEAD(self) -> None:
        self.answer(with_body=False)

    def do_GET(self) -> None:
        with self.server.together():
            self.answer(with_body=True)

    def answer(self, *, with_body: bool) -> None:
        self.server.requests.append(f"{self.command} {self.path} {self.headers.get('Range', '')}".strip())
        path = self.server.root / self.path.lstrip("/")
        if self.server.stumbles > 0:
            self.server.stumbles -= 1
            self.send_error(503)
            return
        if self.path in self.server.answers:
            self.send_error(self.server.answers[self.path])
            return
        if not path.is_file():
            self.send_error(404)
            return
        data = path.read_bytes()
        wanted = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        is_partial = wanted is not None and self.server.has_ranges
        if wanted is not None and is_partial:
            data = data[int(wanted[1]) : int(wanted[2]) + 1]
        self.send_response(206 if is_partial else 200)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Accept-Ranges", "bytes" if self.server.has_ranges else "none")
        self.end_headers()
        if not with_body:
            return
        if self.server.short_answers > 0 and is_partial:
            self.server.short_answers -= 1
            data = data[: len(data) // 2]
            self.close_connection = True
        if self.server.damaged_answers > 0 and data:
            self.server.damaged_answers -= 1
            data = data[:-1] + bytes([data[-1] ^ 1])
        self.wfile.write(data)


@contextmanager
def serving(root: Path, host: str = "127.0.0.1") -> Iterator[Server]:
    """A server of a folder, running."""
    with Server(root, host) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()
