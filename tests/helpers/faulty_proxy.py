"""A real HTTP proxy on loopback before one server (an S3 server, say), which spoils some requests and answers.

Requests of any method are passed on. Some fail before the server has them (500, 503, 429, reset), some after it has
done what was asked (lost answer, half body): a client cannot tell which. Of reads, some answers are wrong: another
range, the whole file, a flipped byte, half of it without a length, late. Some of a server that hangs: it takes nothing
of what is sent, answers nothing (before or after it has done what was asked), or stops in the middle of a body.
"""

import http.client
import re
import select
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler

from tests.helpers.faulty_server import SpoiledServer
from tests.helpers.waiting import HANGS_AFTER_S

STORE_FAULTS = ("500", "503", "429", "reset", "lost answer", "half body")
_WRONG_ANSWERS = ("half without length", "flipped", "other range", "200 for 206", "slow")
READ_FAULTS = ("500", "503", "429", "reset", "half body", *_WRONG_ANSWERS)
HANGS = ("deaf", "silent", "silent after", "silent in body")
"""Until the client goes away."""
_SLOW_DOWN = b"<?xml version='1.0'?><Error><Code>SlowDown</Code><Message>Reduce your request rate.</Message></Error>"
_REFUSALS = {
    "PermanentRedirect": 301,
    "AuthorizationHeaderMalformed": 400,
    "ExpiredToken": 400,
    "RequestTimeout": 400,
    "BadDigest": 400,
    "RequestTimeTooSkewed": 403,
    "InvalidObjectState": 403,
    "QuotaExceeded": 403,
    "NotImplemented": 501,
}
"""What an S3 store may say, as names of faults."""
_DROPPED = {"connection", "transfer-encoding", "content-length", "date", "server"}


class FaultyProxy(SpoiledServer):
    """Passes requests on to a port of this machine; `rate` of them fail, each as one of `faults`.

    Attributes:
        taken: requests that were `asked`, and those that wait to be.
        connections: that were opened.
        sent: bytes of bodies by fault.
        wanted: bytes of the right answer to each GET, asked for once or again.
        waits: seconds before each answer, as of a distant server.
        pause: seconds after each 16 kB of a body, as of a network that takes its time.
        is_open: clear it, and requests are taken and not answered until it is set.
        paths: method and path of each: "GET /bucket/key".
        accounts: what each said in its header Authorization.
        forbidden: end of the paths to which all requests are answered with 403; none when empty.
        aim: bytes whose first one is flipped, in turn where they are often in a body, in no other; empty for any byte.
        flips: bytes that were flipped.
        conditions: what becomes of conditional writes: "passed on", "ignored", or "refused" as not implemented.
    """

    def __init__(self, port: int, *, rate: float, faults: Sequence[str], seed: int) -> None:
        super().__init__(_Handler, rate=rate, faults=faults, seed=seed)
        self.port = port
        self.taken = self.connections = 0
        self.wanted: dict[tuple[str, str | None], int] = {}
        self.waits = self.pause = 0.0
        self.is_open = threading.Event()
        self.is_open.set()
        self.sent: Counter[str] = Counter()
        self.paths: list[str] = []
        self.accounts: list[str] = []
        self.forbidden = ""
        self.aim = b""
        self.flips = 0
        self.conditions = "passed on"

    def flipped(self, content: bytes) -> bytes:
        """A body with a byte flipped: never the same twice in a row, since that would be the file's damage."""
        with self.lock:
            places = [found.start() for found in re.finditer(re.escape(self.aim), content)] if self.aim else []
            if not content or (self.aim and not places):
                return content
            place = places[self.flips % len(places)] if places else self.random.randrange(len(content))
            self.flips += 1
        return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


class _Handler(BaseHTTPRequestHandler):
    server: FaultyProxy
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Keep the test's output clean."""

    def setup(self) -> None:
        # As over a network: little is under way before the client can stop it.
        self.request.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 15)
        super().setup()
        with self.server.lock:
            self.server.connections += 1

    def _pass_on(self) -> None:
        is_first = "deaf" in self.server.faults
        fault = self.server.fault() if is_first else ""
        if fault == "deaf":
            self._wait_for_the_end()
            return
        body = self._body()
        self.server.taken += 1
        self.server.is_open.wait()
        time.sleep(self.server.waits)
        self.server.paths.append(f"{self.command} {self.path.partition('?')[0]}")
        self.server.accounts.append(self.headers.get("Authorization", ""))
        is_forbidden = self.server.forbidden and self.path.partition("?")[0].endswith(self.server.forbidden)
        fault = "403" if is_forbidden else fault if is_first else self.server.fault()
        if self.command == "PUT" and not {"If-Match", "If-None-Match"}.isdisjoint(self.headers):
            fault = "NotImplemented" if self.server.conditions == "refused" else fault
            if self.server.conditions == "ignored":
                del self.headers["If-Match"], self.headers["If-None-Match"]
        if fault == "reset":
            self._hang_up()
        elif fault == "only 102" and self.command != "PUT":  # which has a limit of its own
            self.send_response_only(102)
            self.end_headers()
            self._wait_for_the_end()
        elif fault == "silent":
            self._wait_for_the_end()
        elif fault.isdecimal() or fault in _REFUSALS:
            told = _SLOW_DOWN if fault == "503" else b""
            if fault in _REFUSALS:
                told = _SLOW_DOWN.replace(b"SlowDown", fault.encode())
            told = b"" if self.command == "HEAD" else told
            self.send_response(_REFUSALS.get(fault) or int(fault))
            if fault == "PermanentRedirect":
                self.send_header("x-amz-bucket-region", "eu-west-1")
            self.send_header("Content-Length", str(len(told)))
            self.end_headers()
            self.wfile.write(told)
        else:
            self._answer(body, fault)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _pass_on

    def handle_expect_100(self) -> bool:
        """Say so when the body is taken, not before."""
        return True

    def _body(self) -> bytes:
        if self.headers.get("Expect", "").lower() == "100-continue":
            self.send_response_only(100)
            self.end_headers()
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def _answer(self, body: bytes, fault: str) -> None:
        status, headers, content = self._upstream(body, fault)
        if self.command == "GET" and fault not in ("other range", "200 for 206"):
            with self.server.lock:
                self.server.wanted[self.path, self.headers.get("Range")] = len(content)
        if fault == "lost answer":
            self._hang_up()
            return
        if fault == "silent after":
            self._wait_for_the_end()
            return
        if fault == "slow":
            time.sleep(0.02)
        length = headers.get("Content-Length", "0") if self.command == "HEAD" else str(len(content))
        self.send_response(status)
        for name, value in headers.items():
            if name.lower() not in _DROPPED:
                self.send_header(name, value)
        if fault == "half without length":
            self.send_header("Connection", "close")
        else:
            self.send_header("Content-Length", length)
        self.end_headers()
        self._send(b"" if self.command == "HEAD" else content, fault)

    def _upstream(self, body: bytes, fault: str) -> "tuple[int, http.client.HTTPMessage, bytes]":
        """What the server answers; to another request with some faults."""
        headers = {name: value for name, value in self.headers.items() if name.lower() not in ("connection", "expect")}
        if fault == "200 for 206":
            headers.pop("Range", None)
        if fault == "other range" and "Range" in headers:
            headers["Range"] = re.sub(r"\d+", lambda found: str(max(0, int(found[0]) - 7)), headers["Range"])
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port)
        connection.request(self.command, self.path, body=body, headers=headers)
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        return answer.status, answer.headers, content

    def _send(self, content: bytes, fault: str) -> None:
        if fault.startswith("half") or fault == "silent in body":
            content = content[: len(content) // 2]
        if fault == "flipped":
            content = self.server.flipped(content)
        for start in range(0, len(content), 1 << 14):  # a client may go away: what it did not take does not count
            part = content[start : start + (1 << 14)]
            self.wfile.write(part)
            with self.server.lock:
                self.server.bytes_sent += len(part)
                self.server.sent[fault] += len(part)
            time.sleep(self.server.pause)
        if fault.startswith("half"):
            self._hang_up()
        if fault == "silent in body":
            self._wait_for_the_end()

    def _wait_for_the_end(self) -> None:
        """Do nothing until the client goes away."""
        self.wfile.flush()
        end = select.poll()
        end.register(self.connection, select.POLLRDHUP)
        end.poll(HANGS_AFTER_S * 1000)
        self.close_connection = True

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
