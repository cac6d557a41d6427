"""A judge on the loopback interface, which answers by a function and remembers what it was asked."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Stand:
    """A server that stands in for a judge."""

    reply: Callable[[str, str], str | int]
    """Of (system, user): what it answers, or a status to fail with."""
    asked: list[dict[str, Any]] = field(default_factory=list)
    url: str = ""


@contextmanager
def judge_server(reply: Callable[[str, str], str | int]) -> Iterator[Stand]:
    """An OpenAI-compatible server with the one endpoint that judging needs."""
    stand = Stand(reply)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            stand.asked.append(body | {"path": self.path, "key": self.headers.get("Authorization")})
            said = stand.reply(*(message["content"] for message in body["messages"]))
            status = said if isinstance(said, int) else 200
            answer = {
                "choices": [{"message": {"role": "assistant", "content": said}, "finish_reason": "stop"}]
            }
            text = json.dumps(
                answer if status == 200 else {"error": {"message": "too many requests"}}
            ).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_: Any) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    stand.url = f"http://127.0.0.1:{server.server_port}/v1"
    try:
        yield stand
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
