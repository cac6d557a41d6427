"""A judge: a language model behind an OpenAI-compatible server, whose replies are kept and asked for once."""

import ast
import contextlib
import json
import os
import re
import threading
import time
import urllib.error
import urllib.request
from http.client import HTTPException
from pathlib import Path
from typing import Any

from vxl.errors import ConfigError, JudgeError
from vxl.evaluate.fingerprint import digest

WAITS = (1.0, 5.0)
"""Seconds before a request is repeated."""
TIMEOUT = 300.0
"""Seconds that a reply may take."""
_AGAIN = (408, 409, 425, 429)


class Judge:
    """Asks a judge; its replies are appended to a file, and read from there the next time.

    Args:
        url: Of the server's API, such as `http://localhost:8000/v1`. The environment's `OPENAI_API_KEY` goes
            along where it is set; it is written nowhere.
        model: The judge's name.
        file: Where replies are kept.
        tokens: Longest reply.
    """

    def __init__(self, url: str, model: str, file: Path, *, tokens: int = 1024) -> None:
        if not url.startswith(("http://", "https://")):
            raise ConfigError(
                f"benchmark.judge={url} is no URL.\n  e.g.  benchmark.judge=http://localhost:8000/v1"
            )
        self.url, self.model, self.file, self.tokens = url.rstrip("/"), model, file, tokens
        self.lock = threading.Lock()
        data = file.read_bytes() if file.exists() else b""
        self.kept = _read(data)
        self.before = "\n" if data and not data.endswith(b"\n") else ""  # behind a line that a kill cut off

    def ask(self, system: str, user: str) -> str:
        """The judge's reply, greedily; a reply that is there already is not asked for again.

        Raises:
            JudgeError: It does not answer.
        """
        name = digest([self.model, self.tokens, system, user])
        with self.lock:
            if name in self.kept:
                return self.kept[name]
        reply = self._request(system, user)
        with self.lock:
            self.kept[name] = reply
            self.file.parent.mkdir(parents=True, exist_ok=True)
            line = {"prompt": name, "model": self.model, "reply": reply}
            with self.file.open("a", encoding="utf-8") as file:
                file.write(self.before + json.dumps(line, ensure_ascii=False) + "\n")
                file.flush()
                os.fsync(file.fileno())
            self.before = ""
        return reply

    def _request(self, system: str, user: str) -> str:
        body = {
            "model": self.model,
            "messages": [{"role": "system", "content": system}, {"role": "user", "content": user}],
            "temperature": 0,
            "max_tokens": self.tokens,
        }
        headers = {"Content-Type": "application/json"}
        if os.environ.get("OPENAI_API_KEY"):
            headers["Authorization"] = f"Bearer {os.environ['OPENAI_API_KEY']}"
        request = urllib.request.Request(
            f"{self.url}/chat/completions", json.dumps(body).encode(), headers, method="POST"
        )
        reason = ""
        for wait in (*WAITS, None):
            try:
                with urllib.request.urlopen(request, timeout=TIMEOUT) as response:
                    answer = json.loads(response.read())
                return str(answer["choices"][0]["message"]["content"] or "")
            except urllib.error.HTTPError as error:
                reason = f"status {error.code}: {_message(error)}"
                if error.code < 500 and error.code not in _AGAIN:
                    break
            except (OSError, HTTPException) as error:
                reason = str(getattr(error, "reason", error)) or type(error).__name__
            except (json.JSONDecodeError, UnicodeDecodeError, KeyError, IndexError, TypeError):
                reason = "what it sends is no chat completion"
            if wait is not None:
                time.sleep(wait)
        raise JudgeError(f"the judge {self.model} at {self.url} does not answer: {reason}")


def last_dict(reply: str) -> dict[str, Any] | None:
    """The last JSON object or Python dictionary of a reply; None where there is none."""
    for part in reversed(re.findall(r"\{[^{}]*\}", reply)):
        for parse in (json.loads, ast.literal_eval):
            try:
                value = parse(part)
            except (ValueError, SyntaxError, RecursionError, MemoryError):
                continue
            if isinstance(value, dict):
                return value
    return None


def within(value: Any, low: float, high: float) -> float | None:
    """A score of a reply; None where it is no number from `low` to `high`."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if low <= number <= high else None


def filled(template: str, values: dict[str, str]) -> str:
    """A published prompt with its places filled; braces in what is filled in stay as they are."""
    places = "|".join(re.escape(place) for place in values)
    return re.sub(places, lambda match: values[match.group()], template)


def _message(error: urllib.error.HTTPError) -> str:
    """What a server says of an error, in one line."""
    text = error.read(2000).decode("utf-8", "replace")
    with contextlib.suppress(json.JSONDecodeError, KeyError, TypeError):
        text = str(json.loads(text)["error"]["message"])
    return " ".join(text.split())[:200] or str(error.reason)


def _read(data: bytes) -> dict[str, str]:
    """Replies by the hash of what was asked; a line that a kill cut off is left out."""
    replies = {}
    for line in data.split(b"\n"):
        try:
            value = json.loads(line)
            replies[str(value["prompt"])] = str(value["reply"])
        except (ValueError, KeyError, TypeError, RecursionError):
            continue
    return replies
