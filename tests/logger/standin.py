"""W&B's server on the loopback address, as far as a run, `wandb sync`, an agent and a saved view ask it."""

import json
import threading
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import yaml

KEY = "0123456789" * 4
"""An API key of the length that W&B accepts."""
PROJECT = {"id": "1", "name": "vxl", "entity": {"id": "1", "name": "me"}}


@dataclass
class Received:
    """What a stand-in was told."""

    address: str = ""
    runs: dict[str, dict[str, Any]] = field(default_factory=dict)
    """The variables of the latest upsert of each run, by its id."""
    streams: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    """The bodies of each run's file stream, in order."""
    files: dict[str, bytes] = field(default_factory=dict)
    """Uploaded files, by run and name."""
    views: list[dict[str, Any]] = field(default_factory=list)
    sweeps: dict[str, str] = field(default_factory=dict)
    """The YAML of each sweep, by its id."""
    proposals: list[dict[str, Any]] = field(default_factory=list)
    """Values of the runs that an agent is told to start, the next first; none left: it is told to end."""
    beats: list[dict[str, bool]] = field(default_factory=list)
    """Which runs an agent said were running, at each heartbeat."""
    asked: list[str] = field(default_factory=list)
    """Names of all GraphQL operations."""

    def history(self, run: str) -> dict[int, dict[str, Any]]:
        """A run's rows by step, as the server would keep them: those of one place overwrite each other."""
        lines: dict[int, dict[str, Any]] = {}
        for body in self.streams.get(run, []):
            chunk = body.get("files", {}).get("wandb-history.jsonl")
            if chunk:
                for number, line in enumerate(chunk["content"]):
                    lines[chunk["offset"] + number] = json.loads(line)
        return {int(row["_step"]): row for row in lines.values()}

    def summary(self, run: str) -> dict[str, Any]:
        """A run's latest summary."""
        found: dict[str, Any] = {}
        for body in self.streams.get(run, []):
            chunk = body.get("files", {}).get("wandb-summary.json")
            if chunk:
                found = json.loads(chunk["content"][-1])
        return found

    def exit_code(self, run: str) -> int | None:
        """As the run said it; None while it goes on."""
        said = [body["exitcode"] for body in self.streams.get(run, []) if body.get("complete")]
        return said[-1] if said else None


@contextmanager
def served() -> Generator[Received]:
    """A stand-in that is there while the block runs."""
    received = Received()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if self.path.endswith("/file_stream"):
                received.streams.setdefault(self.path.split("/")[-2], []).append(json.loads(body))
                self.answer({"exitcode": None, "limits": {}})
            elif self.path.endswith("/graphql"):
                self.answer(_graphql(received, json.loads(body)))
            else:  # W&B's telemetry about itself, in protobuf
                self.answer({})

        def do_PUT(self) -> None:
            content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            received.files[self.path.removeprefix("/upload/")] = content
            self.answer({})

        def do_GET(self) -> None:
            self.answer({})

        def answer(self, value: Any) -> None:
            text = json.dumps(value).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, format: str, *arguments: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    received.address = f"http://127.0.0.1:{server.server_port}"
    try:
        yield received
    finally:
        server.shutdown()
        server.server_close()


def _graphql(received: Received, body: dict[str, Any]) -> dict[str, Any]:
    query, variables = body.get("query", ""), body.get("variables") or {}
    received.asked.append(body.get("operationName") or query.strip().partition("(")[0].partition("{")[0])
    if "upsertBucket" in query:
        name = variables.get("name") or "unnamed"
        known = name in received.runs
        received.runs[name] = {**received.runs.get(name, {}), **{k: v for k, v in variables.items() if v}}
        return {"data": {"upsertBucket": {"bucket": _bucket(received, name), "inserted": not known}}}
    if "upsertSweep" in query:
        received.sweeps["swp1"] = variables["config"]
        return {"data": {"upsertSweep": {"sweep": {"name": "swp1", "project": PROJECT}}}}
    if "sweep(sweepName" in query:
        found = {
            "id": "1",
            "name": "swp1",
            "config": received.sweeps[variables["sweep"]],
            "runs": {"edges": []},
        }
        return {"data": {"project": {"sweep": found}}}
    if "createAgent" in query:
        return {"data": {"createAgent": {"agent": {"id": "agent1"}}}}
    if "agentHeartbeat" in query:
        return {
            "data": {
                "agentHeartbeat": {"agent": {"id": "agent1"}, "commands": _commands(received, variables)}
            }
        }
    if "serverInfo" in query:  # asked for by what is logged with files, such as a table
        return {"data": {"serverInfo": {"features": []}}}
    if "createArtifact(" in query:  # as if it were there already, so that no files are asked for
        found = {"id": "1", "state": "COMMITTED", "digest": variables.get("digest", "")}
        found["artifactSequence"] = {"id": "1", "latestArtifact": {"id": "1", "versionIndex": 0}}
        return {"data": {"createArtifact": {"artifact": found}}}
    if "artifactType" in query:
        return {"data": {"project": None}}
    if "upsertView" in query:
        received.views.append(variables)
        return {"data": {"upsertView": {"view": {"id": "view1", "name": variables.get("name", "nw-1-v")}}}}
    if "createRunFiles" in query:
        run = variables["run"]
        files = [
            {"name": name, "uploadUrl": f"{received.address}/upload/{run}/{name}"}
            for name in variables["files"]
        ]
        return {"data": {"createRunFiles": {"runID": run, "uploadHeaders": [], "files": files}}}
    if "viewer" in query:
        return {"data": {"viewer": {"id": "1", "entity": "me", "username": "me", "teams": {"edges": []}}}}
    if "bucket" in query:
        name = variables.get("name") or variables.get("run")
        bucket = _resumed(received, name) if name in received.runs else None
        return {"data": {"model": {"id": "1", "name": "vxl", "bucket": bucket}}}
    return {"data": {}}


def _commands(received: Received, variables: dict[str, Any]) -> str:
    """What an agent is told at a heartbeat: to start the next run if none is running, to go on, to end."""
    received.beats.append(json.loads(variables["runState"]))
    if received.beats[-1]:
        return "[]"
    if not received.proposals:
        return json.dumps([{"type": "exit"}])
    values = received.proposals.pop(0)
    program = yaml.safe_load(received.sweeps["swp1"])["program"]
    number = sum(not beat for beat in received.beats)
    arguments = {name: {"value": value} for name, value in values.items()}
    return json.dumps([{"type": "run", "run_id": f"run{number}", "program": program, "args": arguments}])


def _bucket(received: Received, name: str) -> dict[str, Any]:
    shown = received.runs[name].get("displayName") or name
    bucket: dict[str, Any] = {"id": "1", "name": name, "displayName": shown, "project": PROJECT}
    lines = len(received.history(name))
    return bucket | {"description": None, "config": None, "sweepName": None, "historyLineCount": lines}


def _resumed(received: Received, name: str) -> dict[str, Any]:
    """What a run that goes on is told about its earlier starts."""
    rows = received.history(name)
    latest = json.dumps({"_step": max(rows, default=-1), "_runtime": 1})
    return _bucket(received, name) | {
        "config": received.runs[name].get("config") or "{}",
        "historyTail": json.dumps([latest]) if rows else "[]",
        "summaryMetrics": json.dumps(received.summary(name)),
        "eventsTail": "[]",
        "eventsLineCount": 0,
        "logLineCount": 0,
        "tags": [],
        "wandbConfig": json.dumps({"t": 1}),  # telemetry: without it a run counts as not begun
    }
