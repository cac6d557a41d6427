"""The classes that an exported model's options name: an export has a file of its own in place of this one."""

from typing import Any

TARGETS: dict[str, Any] = {}
"""{path: class}; empty here, where every option can be imported."""
