"""A server of weights on this machine, good and bad."""

import hashlib
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from lightning_modules.pretrained import Model

CONTENT = b"weights " * 40_000


class Weights(ThreadingHTTPServer):
    """Serves `CONTENT` in the way that a path names; counts requests."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.requests: Counter[str] = Counter()
        self.half_sent = threading.Event()
        self.gate = threading.Event()
        """Opens the second half of `/slow`."""

    def address(self, way: str) -> str:
        """The address that is served in this way."""
        return f"http://127.0.0.1:{self.server_port}/{way}"

    def model(self, *ways: str) -> Model:
        """A row of the table, served at these addresses in turn."""
        return Model(
            name="served",
            kind="network",
            file="served.pth",
            addresses=tuple(map(self.address, ways)),
            sha256=hashlib.sha256(CONTENT).hexdigest(),
            size=len(CONTENT),
            licence="MIT",
            used_for="tests",
        )


class Handler(BaseHTTPRequestHandler):
    """Answers as the path says."""

    server: Weights

    def do_GET(self) -> None:
        """Answer."""
        way = self.path.strip("/")
        self.server.requests[way] += 1
        if way == "missing":
            return self.send_error(404)
        self.send_response(200)
        if way != "endless":
            self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        half = len(CONTENT) // 2
        if way == "whole":
            self.wfile.write(CONTENT)
        elif way == "flipped":
            self.wfile.write(CONTENT[:half] + b"W" + CONTENT[half + 1 :])
        elif way == "cut":
            self.wfile.write(CONTENT[:half])
        elif way == "slow":
            self.wfile.write(CONTENT[:half])
            self.server.half_sent.set()
            self.server.gate.wait(60)
            self.wfile.write(CONTENT[half:])
        elif way == "endless":
            while not self.server.gate.is_set():
                self.wfile.write(CONTENT)
        return None

    def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002
        """Say nothing."""

    def handle(self) -> None:
        """As always, but whoever hangs up does so without a trace."""
        try:
            super().handle()
        except OSError:
            self.close_connection = True


@contextmanager
def serving() -> Iterator[Weights]:
    """The server, at work."""
    with Weights() as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        yield server
        server.gate.set()
        server.shutdown()
