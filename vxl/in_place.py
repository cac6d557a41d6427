"""What lies in the place of a file: a download that failed in ways that its name does not show."""

import re

HEAD = 512
"""Bytes of a file's beginning that tell."""


def in_its_place(head: bytes) -> str:
    """`, a page of a server` and the like, for messages, where the beginning of a file shows it; or nothing.

    Args:
        head: At most `HEAD` bytes.
    """
    if not head:
        return ": the file is empty"
    if head.startswith(b"version https://git-lfs"):
        return ", a pointer of Git LFS in its place; type  git lfs pull"
    if re.match(rb"\s*<(!doctype|html|\?xml|error)", head, re.IGNORECASE):
        return ", a page of a server in its place: the download was refused"
    return ""
