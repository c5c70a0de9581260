"""The real command as a process of its own, and raters who talk to it by HTTP."""

import csv
import http.client
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from evaluation.vtt.answers import answer_of
from tests.conftest import PROJECT


class Server:
    """`python -m evaluation.vtt serve`, which can be killed and started again at the same port.

    Attributes:
        port: Where it listens.
        owner: Path of the owner's page.
    """

    def __init__(self, kit: Path, *options: str, at_start: Callable[[], None] | None = None) -> None:
        self.kit, self.options = kit, options
        self.port = 0
        self.start(at_start)

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def start(self, at_start: Callable[[], None] | None = None) -> None:
        """Start it, and wait until it listens."""
        command = [sys.executable, "-m", "evaluation.vtt", "serve", str(self.kit), "--port", str(self.port)]
        self.process = subprocess.Popen(
            [*command, *self.options],
            cwd=PROJECT,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=at_start,
        )
        assert self.process.stdout
        self.said = "".join(self.process.stdout.readline() for _ in range(3))
        found = re.fullmatch(r"raters: http://127\.0\.0\.1:(\d+)/\S*\nowner:  http://[^/]+(/\S+)\n.*\n", self.said)
        if not found:
            raise RuntimeError(self.said + self.process.communicate()[1])
        self.port, self.owner = int(found[1]), found[2]

    def kill(self) -> str:
        """End it at once, as a power cut does, and say what it has complained about."""
        self.process.kill()
        return self.process.communicate()[1]

    def answers(self, query: str = "") -> list[Any]:
        """The owner's table."""
        status, _, table = ask(self.port, "GET", f"{self.owner}/answers.csv{query}")
        assert status == 200
        return [answer_of(row) for row in csv.DictReader(table.decode().splitlines())]


def ask(
    port: int, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
) -> tuple[int, http.client.HTTPMessage, bytes]:
    """One request: its status, headers and body. A `body` that is no bytes is sent as JSON."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=100)
    try:
        content = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        connection.request(method, path, content, headers or {})
        reply = connection.getresponse()
        return reply.status, reply.headers, reply.read()
    finally:
        connection.close()


class Rater:
    """Who answers as the page does, trying again while the server cannot be reached.

    Attributes:
        acknowledged: Every answer that the server has said it has stored, by its trial.
    """

    def __init__(self, server: Server, address: str | None = None, prefix: str = "") -> None:
        self.server, self.prefix = server, prefix
        self.headers = {"X-Forwarded-For": address} if address else {}
        self.acknowledged: dict[str, dict[str, Any]] = {}
        status, reply = self.ask("POST", "api/raters", {"participant": ""})
        assert status == 200, reply
        self.headers["Authorization"] = f"Bearer {reply['rater']}"

    def ask(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """Status and JSON of a reply, however long the server is away."""
        for _ in range(4000):
            try:
                status, _, text = ask(self.server.port, method, f"{self.prefix}/{path}", body, self.headers)
                return status, json.loads(text) if text else None
            except (OSError, http.client.HTTPException):
                time.sleep(0.05)
        raise TimeoutError("the server did not come back")

    def block(self) -> Any:
        """The rater's block, and what is answered; None if nothing is left."""
        status, found = self.ask("GET", "api/block")
        assert status in (200, 204), found
        return found

    def answer(self, block: str, trial: str, choice: int | None = 1, **changes: Any) -> int:
        """Answer a trial: the status of the reply."""
        body = {
            "block": block,
            "trial": trial,
            "choice": choice,
            "response_ms": 400.5 + len(self.acknowledged),
            "shown_ms": [1000.1, 999.9],
            "dropped": "timing" if choice is None else None,
            "at": "2026-01-01T00:00:00.123Z",
        } | changes
        status, reply = self.ask("POST", "api/answers", body)
        if status == 200:
            assert reply == {"stored": True}
            self.acknowledged.setdefault(trial, body)
        return status

    def sit(self) -> int:
        """Answer a whole block, from where it is, and end it: how many blocks are left."""
        found = self.block()
        block = found["block"]["block"]
        for trial in found["block"]["trials"]:
            if trial["trial"] not in found["answered"]:
                assert self.answer(block, trial["trial"], len(self.acknowledged) % 2) == 200
        status, reply = self.ask("POST", "api/block/end", {"block": block})
        assert status == 200, reply
        return int(reply["left"])
