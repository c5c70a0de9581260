"""A stand-in for Weights & Biases' server: answers what its real client asks of sweeps and runs, and remembers it."""

import json
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import yaml

ENTITY, PROJECT_NAME = "laboratory", "chromalab"


class Server:
    """What the client has told, and what it is to be told.

    Attributes:
        address: Where it listens.
        sweeps: The files that were uploaded, by the sweep's id.
        drawn: By the sweep's id, the runs that agents are still to start: the run's id and its values.
        operations: The names of all GraphQL operations, in order.
        buckets: What was sent of each run as it started.
        streams: What each run sent to its file stream, in order.
    """

    def __init__(self) -> None:
        self.address = ""
        self.sweeps: dict[str, dict[str, Any]] = {}
        self.drawn: dict[str, list[tuple[str, dict[str, Any]]]] = {}
        self.operations: list[str] = []
        self.buckets: dict[str, dict[str, Any]] = {}
        self.streams: dict[str, list[dict[str, Any]]] = {}

    def answer(self, operation: str, variables: dict[str, Any]) -> dict[str, Any]:
        """What a GraphQL operation gets."""
        self.operations.append(operation)
        answers = {
            "Viewer": self._viewer,
            "UpsertSweep": self._upsert_sweep,
            "SweepWithRuns": self._sweep_with_runs,
            "CreateAgent": self._create_agent,
            "Heartbeat": self._heartbeat,
            "UpsertBucket": self._upsert_bucket,
            "CreateRunFiles": self._create_run_files,
        }
        return answers[operation](variables) if operation in answers else {}

    def history(self, run: str) -> list[dict[str, Any]]:
        """The rows that a run has logged."""
        bodies = (body.get("files", {}).get("wandb-history.jsonl", {}) for body in self.streams[run])
        return [json.loads(line) for body in bodies for line in body.get("content", [])]

    def exit_code(self, run: str) -> int | None:
        """What a run ended with, or None if it never said that it ended."""
        ends = [body["exitcode"] for body in self.streams[run] if body.get("complete")]
        return ends[-1] if ends else None

    def _viewer(self, variables: dict[str, Any]) -> dict[str, Any]:
        teams: dict[str, Any] = {"edges": []}
        return {"viewer": {"id": "1", "entity": ENTITY, "username": ENTITY, "email": "", "flags": "{}", "teams": teams}}

    def _upsert_sweep(self, variables: dict[str, Any]) -> dict[str, Any]:
        identity = f"sweep{len(self.sweeps)}"
        self.sweeps[identity] = yaml.safe_load(variables["config"])
        sweep = {"name": identity, "project": project(variables["projectName"])}
        return {"upsertSweep": {"sweep": sweep, "configValidationWarnings": []}}

    def _sweep_with_runs(self, variables: dict[str, Any]) -> dict[str, Any]:
        identity = variables["sweep"]
        sweep = {"id": identity, "name": identity, "state": "RUNNING", "runs": {"edges": []}}
        return {"project": {"sweep": {**sweep, "config": yaml.safe_dump(self.sweeps[identity])}}}

    def _create_agent(self, variables: dict[str, Any]) -> dict[str, Any]:
        return {"createAgent": {"agent": {"id": f"agent of {variables['sweep']}"}}}

    def _heartbeat(self, variables: dict[str, Any]) -> dict[str, Any]:
        agent = variables["id"]
        commands = [] if json.loads(variables["runState"]) else [self._next_command(agent.removeprefix("agent of "))]
        return {"agentHeartbeat": {"agent": {"id": agent}, "commands": json.dumps(commands)}}

    def _next_command(self, sweep: str) -> dict[str, Any]:
        if not self.drawn[sweep]:
            return {"type": "exit"}
        run, values = self.drawn[sweep].pop(0)
        args = {name: {"value": value} for name, value in values.items()}
        return {"type": "run", "run_id": run, "args": args, "program": self.sweeps[sweep]["program"]}

    def _upsert_bucket(self, variables: dict[str, Any]) -> dict[str, Any]:
        run = variables["name"]
        known = run in self.buckets
        self.buckets.setdefault(run, {}).update({key: value for key, value in variables.items() if value is not None})
        bucket = {"id": run, "name": run, "displayName": run, "config": "{}", "historyLineCount": 0}
        bucket |= {"sweepName": variables.get("sweep"), "project": project(variables.get("project") or PROJECT_NAME)}
        return {"upsertBucket": {"bucket": bucket, "inserted": not known}}

    def _create_run_files(self, variables: dict[str, Any]) -> dict[str, Any]:
        files = [{"name": name, "uploadUrl": f"{self.address}/upload/{name}"} for name in variables["files"]]
        return {"createRunFiles": {"runID": variables["run"], "uploadHeaders": [], "files": files}}


def project(name: str) -> dict[str, Any]:
    """A project, as GraphQL tells it."""
    return {"id": "1", "name": name, "entity": {"id": "1", "name": ENTITY}}


def environment(server: Server, folder: Path) -> dict[str, str]:
    """What leads the real client, started in a folder, to the stand-in and to nothing of whoever runs the tests."""
    own = {name: value for name, value in os.environ.items() if not name.startswith(("WANDB_", "SLURM_"))}
    return own | {
        "WANDB_BASE_URL": server.address,
        "WANDB_API_KEY": "local-" + 40 * "0",
        "WANDB_ENTITY": ENTITY,
        "WANDB_PROJECT": PROJECT_NAME,
        "WANDB_ERROR_REPORTING": "false",
        "WANDB_CONFIG_DIR": str(folder / "wandb_config"),
        "NETRC": str(folder / "no_netrc"),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{own['PATH']}",
        "OMP_NUM_THREADS": "1",
    }


@contextmanager
def serving() -> Iterator[Server]:
    """A server for the length of a `with`."""
    server = Server()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: Any) -> None:
            pass

        def do_GET(self) -> None:  # noqa: N802
            self.reply({})

        def do_POST(self) -> None:  # noqa: N802
            content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            stream = re.fullmatch(r"/files/[^/]+/[^/]+/([^/]+)/file_stream", self.path)
            if stream:
                server.streams.setdefault(stream[1], []).append(json.loads(content))
            if self.path != "/graphql":
                return self.reply({})
            asked = json.loads(content)
            named = re.search(r"(?:query|mutation)\s+(\w+)", asked["query"])
            assert named
            return self.reply({"data": server.answer(named[1], asked.get("variables") or {})})

        do_PUT = do_POST  # noqa: N815

        def reply(self, body: Any) -> None:
            content = json.dumps(body).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    class Listener(ThreadingHTTPServer):
        def handle_error(self, *_: Any) -> None:
            """A client that is killed, or exits without a word, breaks its connections off."""

    with Listener(("127.0.0.1", 0), Handler) as http:
        server.address = f"http://127.0.0.1:{http.server_address[1]}"
        Thread(target=http.serve_forever, daemon=True).start()
        try:
            yield server
        finally:
            http.shutdown()
