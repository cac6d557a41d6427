"""JSON that anybody may have written: a key that comes twice is not passed over, as `json` does."""

import json
from typing import Any


class Doubled(dict[str, Any]):
    """An object with a key twice: `json` takes the last value, and which is meant can't be told."""

    key: str


def parse_json(text: str) -> Any:
    """The value of a JSON text; an object with a key twice is `Doubled`.

    Raises:
        ValueError: It is no JSON.
        RecursionError: It is nested too deeply.
    """
    return json.loads(text, object_pairs_hook=_object)


def doubled_key(value: Any) -> str | None:
    """A key that comes twice somewhere in a value; None where none does."""
    if isinstance(value, Doubled):
        return value.key
    if isinstance(value, dict | list):
        parts = value.values() if isinstance(value, dict) else value
        return next((key for part in parts if (key := doubled_key(part)) is not None), None)
    return None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) == len(pairs):
        return made
    keys = [key for key, _ in pairs]
    doubled = Doubled(made)
    doubled.key = next(key for number, key in enumerate(keys) if key in keys[:number])
    return doubled
