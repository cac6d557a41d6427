"""W&B's server on the loopback address, as far as a run, `wandb sync`, an agent and a saved view ask it."""

import json
import threading
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

KEY = "0123456789" * 4
"""An API key of the length that W&B accepts."""


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
            body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or b"{}")
            if self.path.endswith("/file_stream"):
                received.streams.setdefault(self.path.split("/")[-2], []).append(body)
                self.answer({"exitcode": None, "limits": {}})
            else:
                self.answer(_graphql(received, body))

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


def _bucket(received: Received, name: str) -> dict[str, Any]:
    project = {"id": "1", "name": "vxl", "entity": {"id": "1", "name": "me"}}
    shown = received.runs[name].get("displayName") or name
    bucket: dict[str, Any] = {"id": "1", "name": name, "displayName": shown, "project": project}
    lines = len(received.history(name))
    return bucket | {"description": None, "config": None, "sweepName": None, "historyLineCount": lines}


def _resumed(received: Received, name: str) -> dict[str, Any]:
    """What a run that goes on is told about its earlier starts."""
    rows = received.history(name)
    latest = json.dumps({"_step": max(rows, default=-1), "_runtime": 1})
    return _bucket(received, name) | {
        "historyTail": json.dumps([latest]) if rows else "[]",
        "summaryMetrics": json.dumps(received.summary(name)),
        "eventsTail": "[]",
        "eventsLineCount": 0,
        "logLineCount": 0,
        "tags": [],
        "wandbConfig": "{}",
    }
