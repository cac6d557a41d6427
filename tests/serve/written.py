"""Requests as clients write them."""

from typing import Any


def chat(*parts: Any, **fields: Any) -> dict[str, Any]:
    """A question to the model `first`: strings are texts, objects parts."""
    content = [{"type": "text", "text": part} if isinstance(part, str) else part for part in parts]
    return {"model": "first", "messages": [{"role": "user", "content": content}], "max_tokens": 6} | fields
