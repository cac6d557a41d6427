"""Reading JSON that a client sent: each value has its type, or the error names the field."""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from vxl.serve.request_error import RequestError


class Fields:
    """The fields of one JSON object.

    Args:
        values: The object.
        where: Its own field in the request, for messages; empty for the whole.
    """

    def __init__(self, values: Any, where: str = "") -> None:
        self.where = where
        if not isinstance(values, Mapping):
            raise RequestError(
                f"{where or 'the body'} is {shown(values)}; expected: a JSON object.", where or None
            )
        self.values = values

    def name(self, key: str) -> str:
        """A field as the client knows it."""
        return f"{self.where}.{key}" if self.where else key

    def wrong(self, key: str, expected: str) -> RequestError:
        """What to say of a value that does not fit."""
        got = "is missing" if key not in self.values else f"is {shown(self.values[key])}"
        return RequestError(f"{self.name(key)} {got}; expected: {expected}.", self.name(key))

    def given(self, key: str) -> bool:
        """Whether a field is there and says something."""
        return self.values.get(key) is not None

    def text(self, key: str, *, most: int = 1_000_000) -> str:
        """A text that has to be there."""
        value = self.values.get(key)
        if not isinstance(value, str):
            raise self.wrong(key, "a string")
        if len(value) > most:
            raise self.wrong(key, f"a string of at most {most:,} characters")
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise self.wrong(key, "text; it has half a surrogate pair") from error
        return value

    def flag(self, key: str, default: bool) -> bool:
        """true or false; null is the default."""
        if not self.given(key):
            return default
        value = self.values[key]
        if not isinstance(value, bool):
            raise self.wrong(key, "true or false")
        return value

    def number(self, key: str, low: float, high: float) -> float | None:
        """A number; None where it is absent or null."""
        if not self.given(key):
            return None
        value = self.values[key]
        if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
            raise self.wrong(key, f"a number from {low:g} to {high:g}")
        if not low <= value <= high:
            raise self.wrong(key, f"{low:g} to {high:g}")
        return float(value)

    def whole(self, key: str, low: int, high: int) -> int | None:
        """A whole number; None where it is absent or null."""
        if not self.given(key):
            return None
        value = self.values[key]
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise self.wrong(key, f"a whole number from {low} to {high}")
        return value

    def list(self, key: str, most: int, expected: str) -> Sequence[Any]:
        """A list; empty where it is absent or null."""
        value = self.values.get(key)
        if value is None:
            return ()
        if not isinstance(value, list):
            raise self.wrong(key, expected)
        if len(value) > most:
            raise RequestError(
                f"{self.name(key)} holds {len(value)}; allowed: at most {most}.", self.name(key)
            )
        return value

    def inner(self, key: str) -> "Fields":
        """An object inside; an empty one where it is absent or null."""
        return Fields(self.values[key] if self.given(key) else {}, self.name(key))


def shown(value: Any) -> str:
    """A value in a message, not longer than a line."""
    try:
        text = json.dumps(value)
    except (TypeError, ValueError, RecursionError):
        text = type(value).__name__
    return text if len(text) <= 60 else f"{text[:57]}…"


def parse_json(body: bytes) -> Any:
    """The value of a body.

    Raises:
        RequestError: It is no JSON, or nested too deeply.
    """

    def constant(name: str) -> float:
        raise ValueError(f"{name} is no JSON")

    try:
        return json.loads(body, parse_constant=constant)
    except RecursionError as error:
        raise RequestError("the body is nested too deeply.") from error
    except ValueError as error:
        raise RequestError(f"the body is not JSON: {error}.") from error
